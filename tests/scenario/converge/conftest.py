"""Hosts for the tests; skipped where namespaces cannot be made."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenario.network_plane.conftest import TOOLS
from tests.scenario.network_plane.plane import hosts

from .site import Site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = [tool for tool in (*TOOLS, "curl", "pgrep") if shutil.which(tool) is None]
    usable = os.geteuid() == 0 and not missing
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.net)
            if not usable:
                item.add_marker(pytest.mark.skip(reason=f"needs root and these tools: {missing}"))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A host with its agents running and pings between guests that no test of the file may disturb."""
    with tempfile.TemporaryDirectory(prefix="pileus-converge-") as name, hosts(Path(name), None) as (host,):
        made = Site(host)
        try:
            made.start()
            yield made
        finally:
            made.close()
