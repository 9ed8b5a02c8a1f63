"""A cloud with a project in it that boots servers, and `pileus verify` beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "api" / "compute"))

from actors import Shop

from cloud import Cloud
from pileus.cli import daemon, processes
from pileus.cli import layout as layouts
from verified import config_of


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running cloud with fake drivers, whose image service does not tidy up while a test looks. It says that it runs
    as a process of its own would."""
    with Cloud(tmp_path_factory.mktemp("cloud"), tables={"image": {"reconcile_s": 86_400.0}}) as running:
        layout = layouts.find(str(config_of(running)), None)
        with daemon.only_process(processes.whole(layout)) as pid_file:
            daemon.announce(pid_file)
            yield running


@pytest.fixture(scope="module")
def shop(cloud: Cloud) -> Shop:
    """A project with all that a server needs; one per test file."""
    return Shop(cloud)
