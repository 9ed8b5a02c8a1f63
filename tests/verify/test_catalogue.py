"""The table of findings is whole: each has a planting test, a sentence and a repair, and names parts that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pileus.verify import catalogue
from pileus.verify.catalogue import KINDS, Kind
from pileus.verify.evidence.whole import Evidence
from tests.scenario.verify.plants import HOST_PLANTS
from tests.verify.plants import PLANTS


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_finding_has_a_planting_test_and_says_what_it_is(kind: Kind) -> None:
    assert (kind.name in PLANTS) != (kind.name in HOST_PLANTS), "plant it once: without a host if that is possible"
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", kind.name)
    assert kind.sentence
    assert kind.repair.words
    assert set(kind.needs) <= set(Evidence.__struct_fields__)


def test_names_are_unique_and_every_plant_has_its_finding() -> None:
    assert len(catalogue.BY_NAME) == len(KINDS)
    assert set(PLANTS) | set(HOST_PLANTS) == set(catalogue.BY_NAME)


def test_the_operators_page_names_every_finding_in_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operate" / "verify.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE) == [kind.name for kind in KINDS]
