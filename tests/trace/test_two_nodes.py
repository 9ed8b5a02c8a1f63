"""A node without databases has its hops kept by one that has: a trace does not end where a host does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from actors import Shop

from cloud import Cloud
from pileus.kernel.config import NodeConfig
from pileus.kernel.process import Node
from pileus.services import discover

from .command import hops_of

HOST_ROLES = ("compute-agent", "network-l2")
TABLES = {
    "compute": {"agent": {"hypervisor": "fake"}},
    "network": {"l2_driver": "fake", "l3_driver": "fake", "dhcp_driver": "fake"},
}


@pytest.fixture(scope="module")
def host_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, host_directory: Path) -> Iterator[Cloud]:
    """Everything but the agents of a host in one node; these in another, on the same bus."""
    roles = [role.name for service in discover() if service.offered for role in service.roles]
    roles = [role for role in roles if role not in HOST_ROLES]
    with Cloud(tmp_path_factory.mktemp("control"), roles=roles) as running:
        host = running.run(_start(running, host_directory))
        yield running
        running.run(host.stop())


async def _start(cloud: Cloud, directory: Path) -> Node:
    assert cloud.node is not None
    config = NodeConfig(host="h2", state_dir=str(directory))
    node = Node(config, discover(), TABLES, bus=cloud.node.bus)
    await asyncio.create_task(node.start(HOST_ROLES))  # a task of its own, as a process would be
    return node


def test_the_hops_of_both_are_in_one_trace(cloud: Cloud, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    answer = shop.try_boot("elsewhere")
    server = answer.json()["server"]["id"]
    shop.user.until_status(server, "ACTIVE")
    hops = hops_of(cloud, capsys, answer.headers["X-Openstack-Request-Id"])
    by_role = {hop["role"]: hop["host"] for hop in hops}
    assert {role: host for role, host in by_role.items() if host == "h2"} == {"compute-agent": "h2", "network-l2": "h2"}
    assert by_role["compute-conductor"] == by_role["network-dhcp"] == "test-host"
    named = [hop["name"] for hop in hops]
    assert named.index("PrepareServer") < named.index("guest") < named.index("StartServer")


def test_the_host_has_no_database_of_its_own(cloud: Cloud, host_directory: Path) -> None:
    assert host_directory.exists()
    assert not list(host_directory.glob("**/*.sqlite"))
