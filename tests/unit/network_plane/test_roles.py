"""The agent roles in a real node: they find the server on the bus, obey the doorbell, and end with the node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pileus.kernel.config import NodeConfig
from pileus.kernel.process import Node, Role, Runtime, Service
from pileus.services.network.rpc import (
    METADATA_TOPIC,
    SERVER_TOPIC,
    AgentHeartbeat,
    FetchHostDhcp,
    FetchHostNetworks,
    FetchHostRouters,
    HostChanged,
    HostDhcp,
    HostNetworks,
    HostPort,
    HostRouters,
    MetadataRequest,
    MetadataResponse,
    ReportAccepted,
    ReportPorts,
    agent_topic,
)
from pileus.services.network.worker.bus_server import BusMetadataBackend
from pileus.services.network.worker.config import AgentConfig
from pileus.services.network.worker.roles import DHCP_ROLE, L2_ROLE, L3_ROLE, start_dhcp, start_l2, start_l3


class Configuration(AgentConfig, frozen=True, kw_only=True):
    @property
    def agent(self) -> AgentConfig:
        return self


class Truth:
    """What the server answers and hears."""

    def __init__(self) -> None:
        self.networks = HostNetworks(host="h", generation=1)
        self.reports: list[ReportPorts] = []
        self.beats: dict[str, AgentHeartbeat] = {}

    async def start(self, rt: Runtime[Any]) -> None:
        rt.bus.listen(
            SERVER_TOPIC,
            {
                FetchHostNetworks: self._networks,
                FetchHostRouters: self._routers,
                FetchHostDhcp: self._dhcp,
                ReportPorts: self._ports,
                AgentHeartbeat: self._beat,
            },
        )

    async def _networks(self, asked: FetchHostNetworks) -> HostNetworks:
        assert asked.host == "h"
        return self.networks

    async def _routers(self, asked: FetchHostRouters) -> HostRouters:
        return HostRouters(host=asked.host, generation=1)

    async def _dhcp(self, asked: FetchHostDhcp) -> HostDhcp:
        return HostDhcp(host=asked.host, generation=1)

    async def _ports(self, report: ReportPorts) -> ReportAccepted:
        self.reports.append(report)
        return ReportAccepted(report.generation)

    async def _beat(self, beat: AgentHeartbeat) -> ReportAccepted:
        self.beats[beat.agent_type] = beat
        return ReportAccepted()


async def until(probe: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not probe():
            await asyncio.sleep(0.005)


async def test_roles_converge_on_the_doorbell_and_end_with_the_node(tmp_path: Path) -> None:
    truth = Truth()
    service = Service(
        type="network", name="network", description="", path="/network", catalog_path="/network", usual_port=9696,
        config=Configuration, routes=(), policies=(), render_fault=lambda error, _: (error.text.encode(), "text/plain"),
        roles=(
            Role(name=L2_ROLE, start=start_l2),
            Role(name=L3_ROLE, start=start_l3),
            Role(name=DHCP_ROLE, start=start_dhcp),
            Role(name="network-server", start=truth.start),
        ),
    )  # fmt: skip
    tables = {"network": {"l2_driver": "fake", "l3_driver": "fake", "dhcp_driver": "fake", "reconcile_interval_s": 60}}
    node = Node(NodeConfig(host="h", state_dir=str(tmp_path)), (service,), tables)
    await node.start(serve=False)
    try:
        await until(lambda: set(truth.beats) == {"l2", "l3", "dhcp"})
        port = HostPort(id="p", network_id="n", device_name="tapp", mac_address="fa:16:3e:00:00:01")
        truth.networks = HostNetworks(host="h", generation=2, ports=(port,))
        await node.bus.cast(agent_topic("l2", "h"), HostChanged(generation=2))
        await until(lambda: truth.reports)
        assert truth.reports[-1].generation == 2
        assert truth.reports[-1].ports[0].status == "ACTIVE"
    finally:
        await node.stop()
    assert node.failure is None


async def test_metadata_is_asked_for_over_the_bus(tmp_path: Path) -> None:
    node = Node(NodeConfig(host="h", state_dir=str(tmp_path)), ())
    await node.start(serve=False)
    backend = BusMetadataBackend(node.bus)
    request = MetadataRequest(source_ip="10.0.0.5", method="GET", path="/", network_id="n")
    try:
        with pytest.raises(OSError, match=METADATA_TOPIC):  # the guest gets a 503, not a hanging connection
            await backend(request)

        async def answer(asked: MetadataRequest) -> MetadataResponse:
            return MetadataResponse(200, body=asked.source_ip.encode())

        node.bus.listen(METADATA_TOPIC, {MetadataRequest: answer})
        assert (await backend(request)).body == b"10.0.0.5"
    finally:
        await node.stop()
