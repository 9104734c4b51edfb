#!/usr/bin/env bash
# Build the book into target/book/html, and check every link in it. Needs mdbook 0.5 (cargo install mdbook) and python3.
#
# Pages link to pages outside of docs, so the book's source is a copy of every tracked page and of what pages link to.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
book=$root/target/book
command -v mdbook > /dev/null || { echo "missing: mdbook; cargo install mdbook" >&2; exit 1; }

rm -rf "$book"
mkdir -p "$book/pages"
cp "$root/docs/book.toml" "$book"
cd "$root"
git ls-files -z --cached --others --exclude-standard -- '*.md' docs configs host/benches python plugins LICENSE-MIT LICENSE-APACHE CITATION.cff |
  xargs -0 cp --parents -t "$book/pages"
cd "$book/pages"
# The contents are relative to docs, where editors and the tests find them.
sed -E 's|\]\(\.\./|](|; t; s|\]\(|](docs/|' docs/SUMMARY.md > SUMMARY.md
rm docs/SUMMARY.md
# A folder's page is called README where it is read in the repository, and index in a book; the front page links to the contents, which a
# book shows beside every page.
find . -name README.md -execdir mv README.md index.md \;
find . -name '*.md' -exec sed -i -E 's#\]\(([^):]*)README\.md#](\1index.md#g; s#\]\(docs/SUMMARY\.md\)#](index.md)#' {} +
mdbook build "$book"
python3 "$root/docs/check_links.py" "$book/html"
