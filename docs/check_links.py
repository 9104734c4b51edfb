"""Checks the links of a built book: check_links.py FOLDER. Every link within the book must lead to a file, and to an id in it."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The ids of a page, and what it links to."""

    def __init__(self, text):
        super().__init__()
        self.ids = set()
        self.links = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.update(value for key, value in attrs.items() if key in ("id", "name") and value)
        for key in ("href", "src"):
            if attrs.get(key):
                self.links.append(attrs[key])


def problems(folder):
    """A sentence for each link that leads nowhere."""
    pages = {file.resolve(): Page(file.read_text(encoding="utf-8")) for file in folder.rglob("*.html")}
    for file, page in pages.items():
        # A server shows it for any address, so that it links to the server's root.
        if file.name == "404.html":
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if target.is_dir():
                target = target / "index.html"
            name = file.relative_to(folder.resolve())
            if not target.exists():
                yield f"{name}: {link} is not there"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                yield f"{name}: {link}: there is no such heading"


def main():
    folder = Path(sys.argv[1])
    found = sorted(set(problems(folder)))
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        sys.exit(f"{len(found)} links lead nowhere")
    print(f"{folder}: {len(list(folder.rglob('*.html')))} pages, every link leads somewhere")


if __name__ == "__main__":
    main()
