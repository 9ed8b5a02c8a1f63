"""A Galera cluster for the tests of this folder: it starts when the first of them asks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from engines.galera import MEMBERS, PASSWORD, USER, WAIT_S
from engines.loopback import loopback_places
from pileus.lab.engines.galera import GaleraCluster


@pytest.fixture(scope="package")
def running() -> Iterator[GaleraCluster]:
    with loopback_places(MEMBERS, "pileus-galera-") as places:
        made = GaleraCluster(places)
        made.restart()
        yield made


@pytest.fixture
def cluster(running: GaleraCluster) -> GaleraCluster:
    """All members run, whatever the test before has done."""
    running.restart()
    running.wait_size(MEMBERS, WAIT_S)
    return running


@pytest.fixture
def schema(cluster: GaleraCluster) -> str:
    name = "t" + uuid.uuid4().hex[:12]
    cluster.members[0].create_schema(name, USER, PASSWORD)
    return name
