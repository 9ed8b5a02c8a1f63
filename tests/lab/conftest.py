"""A lab for the tests of one file, which names the layout: `LAYOUT`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.journey import Journey
from tests.lab.rehearsal import Rehearsal


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rehearsal]:
    with Rehearsal(tmp_path_factory.mktemp("lab"), request.module.LAYOUT) as running:
        yield running


@pytest.fixture(scope="module")
def journey(lab: Rehearsal) -> Journey:
    """With two guests, `one` and `two`."""
    made = Journey(lab)
    made.prepare()
    made.boot("one", "two")
    return made
