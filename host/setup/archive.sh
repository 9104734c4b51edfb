#!/usr/bin/env bash
# Pack the built program with libtorch's CPU part into one file that runs from any folder: archive.sh [FOLDER]
#
# Writes coldstart-VERSION-TRIPLE.tar.zst and its SHA-256 into FOLDER, target/dist unless told otherwise.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
dist=$(realpath -m "${1:-$root/target/dist}")
version=$("$here/version.sh")
triple=$(rustc -vV | sed -n 's/^host: //p')
name=coldstart-$version-$triple

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
folder=$stage/$name
# shellcheck disable=SC2016  # the loader expands $ORIGIN
"$here/tree.sh" "$folder" '$ORIGIN/../lib/coldstart/torch/lib'
"$here/libtorch.sh" "$folder/lib/coldstart"
cp "$root"/{README.md,CHANGELOG.md,CITATION.cff,LICENSE-APACHE,LICENSE-MIT} "$folder"
mkdir "$folder/configs"
cp "$root"/configs/*.toml "$folder/configs"
cp -r "$root/docs" "$folder"
cp -r "$root/python" "$folder"
find "$folder" -name __pycache__ -prune -exec rm -r {} +

mkdir -p "$dist"
# The same tree gives the same bytes: nothing of who packed it, or when.
tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -c "$name" | zstd -q -T0 -15 -f -o "$dist/$name.tar.zst"
(cd "$dist" && sha256sum "$name.tar.zst" > "$name.tar.zst.sha256")
echo "$dist/$name.tar.zst: $(($(stat -c %s "$dist/$name.tar.zst") >> 20)) MiB"
