"""Check of the links and anchors within a folder of built pages.

    python docs/check_links.py docs/_build/html

Prints every link that leads to no file, or to no element of the page that it names, and exits with
status 1 if there is one. Links to other sites are not followed.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class Page(HTMLParser):
    """Targets and links of one page."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        target = attrs.get("href") or attrs.get("src")
        if target and tag in ("a", "img", "link", "script"):
            self.links.append(target)


def broken_links(root):
    """Yield (page, link) for each link within the folder that leads nowhere."""
    pages = {
        path.resolve(): Page(path)
        for path in sorted(root.rglob("*.html"))
        if "_static" not in path.parts  # templates of the theme
    }
    for path, page in pages.items():
        for link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            place, anchor = urldefrag(link.split("?")[0] if "#" not in link else link)
            target = (path.parent / unquote(urlsplit(place).path)).resolve() if place else path
            target = target / "index.html" if target.is_dir() else target
            known = pages[target].anchors if target in pages else None
            if not target.exists() or (anchor and known is not None and anchor not in known):
                yield path.relative_to(root.resolve()), link


def main(root):
    broken = sorted(set(broken_links(Path(root))))
    for page, link in broken:
        print(f"{page}: {link}")
    print(f"{len(broken)} broken links")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
