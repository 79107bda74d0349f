"""Check that every link inside the built pages leads to a file, and to a place in it that is there.

``python docs/check_site.py docs/_build/html``, which ``make docs`` runs; it needs no network, and follows no link that
leaves the site.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links of a page, and what they can point at in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, _tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value and name in {"href", "src"}:
                self.links.append(value)
            elif value and name in {"id", "name"}:
                self.places.add(value)


def broken_links(site: Path) -> tuple[int, list[str]]:
    """How many links inside the site there are, and those that lead nowhere."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    n_links, broken = 0, []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            n_links += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].places if target in pages else {"", unquote(parts.fragment)}
            if not target.exists() or unquote(parts.fragment) not in known:
                broken.append(f"{path.relative_to(site.resolve())}: {link}")
    return n_links, broken


def main() -> int:
    n_links, broken = broken_links(Path(sys.argv[1]))
    print("\n".join([*broken, f"{n_links:,} links, {len(broken)} of them broken"]))
    return 1 if broken or not n_links else 0


if __name__ == "__main__":
    sys.exit(main())
