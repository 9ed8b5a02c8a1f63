"""Hosts for the tests; skipped where namespaces cannot be made."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .plane import Host, Plane, connect_hosts, hosts

TOOLS = ("ip", "bridge", "nsenter", "unshare", "iptables-restore", "nft", "conntrack", "dnsmasq", "busybox", "ping")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    usable = os.geteuid() == 0 and not missing
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.net)
            if not usable:
                item.add_marker(pytest.mark.skip(reason=f"needs root and these tools: {missing}"))


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pileus-plane-") as name:
        yield Path(name)


@pytest.fixture
def host(directory: Path) -> Iterator[Host]:
    """One host with its agents running."""
    with hosts(directory, None) as (only,):
        yield only


@pytest.fixture
def two_hosts(directory: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts with a cable between them."""
    with hosts(directory, "192.0.2.1", "192.0.2.2") as (first, second):
        connect_hosts(first, second)
        yield first, second


@pytest.fixture
def plane(host: Host) -> Plane:
    """One host with an external bridge, 203.0.113.1/24 on it."""
    return Plane(host)
