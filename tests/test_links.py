"""Links in the Markdown files: paths and anchors resolve, addresses are well formed."""

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "reports").rglob("*.md")]
)
FENCED = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+).+?\1")
HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
LINKS = (
    re.compile(r"\]\(<?([^)>\s]*)>?(?:\s+\"[^\"]*\")?\)"),
    re.compile(r"^\[[^\]]+\]:\s+(\S+)", re.MULTILINE),
    re.compile(r"\b(?:href|src|srcset)=\"([^\"]*)\""),
)
"""Inline links and images, reference definitions, HTML."""


def prose(page: Path) -> str:
    """The text of a page without its fenced code."""
    return FENCED.sub("", page.read_text())


def links(page: Path) -> list[str]:
    text = CODE.sub("", prose(page))
    return [target for pattern in LINKS for target in pattern.findall(text)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings, and explicit ones."""
    text, seen, found = prose(page), Counter(), set()
    for heading in HEADING.findall(text):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found | set(re.findall(r"\b(?:id|name)=\"([^\"]+)\"", text))


def fault(page: Path, target: str) -> str | None:
    """What is wrong with a link, or None."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        well_formed = parts.scheme in ("http", "https") and "." in (parts.hostname or "")
        return None if well_formed else "is not an http(s) address with a host name"
    if not parts.path and not parts.fragment:
        return "is empty"
    file = page if not parts.path else (page.parent / unquote(parts.path)).resolve()
    if not file.is_relative_to(ROOT):
        return "leads out of the repository"
    if not file.exists():
        return "leads to no file"
    if parts.fragment and parts.fragment not in anchors(file):
        return f"has no such heading; there are {sorted(anchors(file))}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    faults = {target: fault(page, target) for target in links(page)}
    assert {target: said for target, said in faults.items() if said} == {}


def test_faults_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.test_links.ROOT", tmp_path)
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# One, two\n\n## Again\n\n## Again\n\n```\n# no heading\n```\n")
    good = ["other.md", "other.md#one-two", "other.md#again-1", "#here", "https://example.org/x"]
    bad = ["missing.md", "other.md#three", "other.md#no-heading", "#", "ftp://x.org", "../x.md"]
    page.write_text("# Here\n\n`[code](no.md)`\n" + "".join(f"[a]({x})\n" for x in good + bad))
    assert links(page) == good + bad
    assert [fault(page, target) for target in good] == [None] * len(good)
    assert all(fault(page, target) for target in bad)
