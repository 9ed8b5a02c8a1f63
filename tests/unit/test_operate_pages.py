"""The operator's pages name only what there is: other pages, their headings, tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "operate").glob("*.md"))
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_TEST = re.compile(r"`(?:tests/)?([a-z_]+(?:/[a-z_]+)+\.py)(?:::(\w+))?`")


def anchors(page: Path) -> set[str]:
    """Of its headings, as renderers make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in _LINK.findall(page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_page_is_reached_from_the_first() -> None:
    first = (ROOT / "docs" / "operate" / "README.md").read_text()
    assert [page.name for page in PAGES if page.name != "README.md" and f"({page.name}" not in first] == []


def test_every_test_that_is_named_for_a_failure_exists() -> None:
    page = (ROOT / "docs" / "operate" / "failures.md").read_text()
    named = _TEST.findall(page)
    assert len(named) > 20
    for path, name in named:
        file = ROOT / "tests" / path
        assert file.exists(), path
        assert not name or f"def {name}(" in file.read_text(), f"{path}::{name}"
