"""The agent as a role of a node: reached over the bus, reporting to the conductor, gone and back with the node."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import msgspec

from pileus.kernel.config import NodeConfig
from pileus.kernel.errors import ServiceError
from pileus.kernel.process import Node, Role, Service
from pileus.services.compute.rpc import (
    AGENT_ROLE,
    CONDUCTOR_TOPIC,
    DescribeServer,
    DestroyServer,
    FlavorFacts,
    GuestEvent,
    HostReport,
    PrepareServer,
    ServerReport,
    ServerSpec,
    StartServer,
    agent_topic,
)
from pileus.services.compute.worker import role
from pileus.services.compute.worker.config import AgentConfig

WAIT_S = 10.0


class Config(msgspec.Struct, frozen=True):
    agent: AgentConfig = AgentConfig(hypervisor="fake", report_interval_s=0.05, reconcile_interval_s=0.05)


def no_fault(error: ServiceError, request_id: str) -> tuple[bytes, str]:
    return error.text.encode(), "text/plain"


AGENT_ONLY = Service(
    type="compute", name="compute", description="", path="/compute", catalog_path="/compute/v2.1", usual_port=8774,
    config=Config, routes=(), policies=(), render_fault=no_fault, roles=(Role(name=AGENT_ROLE, start=role.start),),
)


class Conductor:
    """Listens where agents report."""

    def __init__(self, node: Node) -> None:
        self.reports: list[HostReport] = []
        self.events: list[GuestEvent] = []
        node.bus.listen(CONDUCTOR_TOPIC, {HostReport: self._report, GuestEvent: self._event})

    async def _report(self, message: HostReport) -> None:
        self.reports.append(message)

    async def _event(self, message: GuestEvent) -> None:
        self.events.append(message)

    async def reported(self) -> HostReport:
        known = len(self.reports)
        async with asyncio.timeout(WAIT_S):
            while len(self.reports) == known:
                await asyncio.sleep(0.01)
        return self.reports[-1]


async def test_a_node_runs_an_agent(tmp_path: Path) -> None:
    config = NodeConfig(host="h1", state_dir=str(tmp_path))
    node = Node(config, [AGENT_ONLY])
    conductor = Conductor(node)
    await node.start(serve=False)
    first = await conductor.reported()
    assert (first.host, first.hypervisor_type, first.guests) == ("h1", "fake", ())
    spec = ServerSpec(str(uuid.uuid4()), "web", "p", FlavorFacts(vcpus=1, ram_mib=64, root_gib=1))
    topic = agent_topic("h1")
    prepared = await node.bus.call(topic, PrepareServer(generation=1, spec=spec))
    assert isinstance(prepared, ServerReport)
    assert prepared.prepared
    started = await node.bus.call(topic, StartServer(server_id=spec.server_id, generation=1))
    assert started.power_state == "running"
    assert [guest.power_state for guest in (await conductor.reported()).guests] == ["running"]
    await node.stop()

    again = Node(config, [AGENT_ONLY])
    conductor = Conductor(again)
    await again.start(serve=False)
    await conductor.reported()
    state = await again.bus.call(topic, DescribeServer(server_id=spec.server_id))
    assert (state.power_state, state.generation) == ("running", 1)
    assert conductor.events == []
    await again.bus.call(topic, DestroyServer(server_id=spec.server_id, generation=2))
    assert (await conductor.reported()).guests == ()
    await again.stop()


async def test_a_report_that_nobody_takes_is_repeated_soon(tmp_path: Path) -> None:
    """Its next one is an hour away, and until one is taken no server is placed on the host."""
    tables = {"compute": {"agent": {"hypervisor": "fake", "report_interval_s": 3_600.0}}}
    node = Node(NodeConfig(host="h1", state_dir=str(tmp_path)), [AGENT_ONLY], tables)
    await node.start(serve=False)
    await asyncio.sleep(0.5)
    conductor = Conductor(node)
    assert (await conductor.reported()).host == "h1"
    await node.stop()
