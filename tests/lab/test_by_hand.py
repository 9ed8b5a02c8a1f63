"""What the page on installing by hand tells to do gives a cloud that works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.by_hand import ByHand, steps

pytestmark = [pytest.mark.guest, pytest.mark.long]


@pytest.mark.parametrize(("section", "layout"), [("Three nodes", "three-nodes"), ("Three controllers", "ha")])
def test_the_page_gives_a_cloud(tmp_path: Path, section: str, layout: str) -> None:
    with ByHand(tmp_path, layout) as site:
        for step in steps(section):
            site.do(step)
