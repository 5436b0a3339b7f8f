"""What MkDocs does not do by itself with the documentation: hooks, named in mkdocs.yml.

The pages are written for a forge, where links lead anywhere in the repository. Here README.md, CONTRIBUTING.md and
CHANGELOG.md become pages too, what else of the repository is linked to is copied beside them, and a link that leads to
nothing is a warning, which `mkdocs build --strict` fails for. So is a block of Markdown that came out as plain text, and
anything that a page would fetch from another site.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

__all__ = ["on_files", "on_page_content", "on_page_markdown", "on_post_build"]

log = logging.getLogger("mkdocs.house")

ROOT = Path(__file__).parents[1]
DOCS = "docs"

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages outside of docs/: where they are in the repository, and in the site."""

COPIES = "repository"
"""Folder of the site for files that are no pages. They get the ending .txt, so that browsers show them."""

_FENCE = re.compile(r"^ *(`{3,}|~~~)")
_LINK = re.compile(r"(?P<code>`+[^`]*`+)|(?P<before>!?\[(?P<text>(?:`[^`]*`|[^\[\]`])*)\]\()(?P<target>[^()\s]+)\)")
_ITEM = re.compile(r"^(?:[-*]|\d+\.) ")
_PLAIN = re.compile(r"<p>(?:[^<]*\n)?(?:\d+\. |[-*] |\||```)")
"""A paragraph with a line that begins as a list, a table or a fence does."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where things are in the site; set lists apart, which a forge does not need."""
    here = _in_repository(page.file.src_uri)
    return "\n".join(
        text if is_code else _LINK.sub(lambda link: _led(link, here, config, files), _apart(text))
        for text, is_code in _pieces(markdown)
    )


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> None:
    """Warn of what was meant as a list, a table or code, and is a paragraph."""
    for found in _PLAIN.finditer(html):
        log.warning("%s: not made a block: %r", page.file.src_uri, html[found.start() : found.end() + 60])


def on_post_build(config: MkDocsConfig) -> None:
    """Warn of all that a page would fetch from elsewhere."""
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        fetched = _Fetched()
        fetched.feed(path.read_text("utf-8"))
        for address in fetched.elsewhere:
            log.warning("%s fetches %s", path.name, address)
    for path in sorted(Path(config.site_dir).rglob("*.css")):
        for address in re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^'\")]+)", path.read_text("utf-8")):
            log.warning("%s fetches %s", path.name, address)


def _pieces(markdown: str) -> Iterator[tuple[str, bool]]:
    """Yield the text between blocks of code, and these, each with whether it is code."""
    fence, lines = "", list[str]()
    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if mark and not fence:
            yield "\n".join(lines), False
            fence, lines = mark[1], [line]
        elif mark and fence == mark[1]:
            yield "\n".join([*lines, line]), True
            fence, lines = "", []
        else:
            lines.append(line)
    yield "\n".join(lines), bool(fence)


def _apart(text: str) -> str:
    """Put a blank line before each list."""
    lines: list[str] = []
    for line in text.split("\n"):
        if _ITEM.match(line) and lines and lines[-1].strip() and not _ITEM.match(lines[-1]) and lines[-1][0] != " ":
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _in_repository(page: str) -> str:
    """Return where a page of the site is in the repository."""
    return next((source for source, name in PAGES.items() if name == page), f"{DOCS}/{page}")


def _in_site(path: str, config: MkDocsConfig, files: Files) -> str | None:
    """Return where a file of the repository is in the site, copying it there if need be; None for a folder."""
    if (ROOT / path).is_dir():
        return None
    if path in PAGES:
        return PAGES[path]
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    copy = f"{COPIES}/{path}.txt"
    if files.get_file_from_path(copy) is None:
        files.append(File.generated(config, copy, abs_src_path=str(ROOT / path)))
    return copy


def _led(link: re.Match[str], here: str, config: MkDocsConfig, files: Files) -> str:
    """Return a link as it is to be in the site; what is in code is none."""
    if link["code"]:
        return link[0]
    path, mark, anchor = link["target"].partition("#")
    if not path or ":" in path:
        return link[0]
    found = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
    if not (ROOT / found).exists():
        log.warning("%s: a link leads to %s, which is not in the repository", here, found)
        return link[0]
    there = _in_site(found, config, files)
    if there is None:
        return link["text"]
    page = PurePosixPath(_in_site(here, config, files) or "")
    return f"{link['before']}{posixpath.relpath(there, page.parent)}{mark}{anchor})"


class _Fetched(HTMLParser):
    """Collects what a browser fetches from another site to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elsewhere: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        given: dict[str, Any] = dict(attrs)
        found = given.get("src") if tag != "a" else None
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next", "alternate"):
            found = given.get("href")
        if found and re.match(r"(https?:)?//", found):
            self.elsewhere.append(found)
