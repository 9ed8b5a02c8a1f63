"""The role `network-server`: answers agents, and looks after where things are placed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.rpc import (
    SERVER_TOPIC,
    AgentHeartbeat,
    FetchHostDhcp,
    FetchHostNetworks,
    FetchHostRouters,
    FindMetadataPort,
    HostDhcp,
    HostNetworks,
    HostRouters,
    MetadataPort,
    ReportAccepted,
    ReportDhcp,
    ReportPorts,
    ReportRouters,
)
from pileus.services.network.tasks import desired_state, reports, schedule_agents

if TYPE_CHECKING:
    from pileus.kernel.process.runtime import Runtime

ROLE = "network-server"


class Server:
    """Answers one message each."""

    def __init__(self, rt: Runtime[Any], fabric: Fabric) -> None:
        self._db = rt.db
        self._fabric = fabric
        self._scheduling = rt.every(fabric.config.schedule_interval_s, self.schedule, name="network scheduling")

    async def networks(self, message: FetchHostNetworks) -> HostNetworks:
        return await self._db.read(desired_state.networks_of_host, message.host)

    async def routers(self, message: FetchHostRouters) -> HostRouters:
        return await self._db.read(desired_state.routers_of_host, message.host)

    async def dhcp(self, message: FetchHostDhcp) -> HostDhcp:
        return await self._db.read(desired_state.dhcp_of_host, self._fabric, message.host)

    async def ports_reported(self, message: ReportPorts) -> ReportAccepted:
        return await self._db.write(reports.ports_reported, self._fabric, message)

    async def routers_reported(self, message: ReportRouters) -> ReportAccepted:
        return await self._db.write(reports.routers_reported, self._fabric, message)

    async def dhcp_reported(self, message: ReportDhcp) -> ReportAccepted:
        return await self._db.write(reports.dhcp_reported, self._fabric, message)

    async def heartbeat(self, message: AgentHeartbeat) -> ReportAccepted:
        accepted = await self._db.write(reports.heartbeat, self._fabric, message)
        if message.fresh_start:
            self._scheduling.ring()
        return accepted

    async def metadata_port(self, message: FindMetadataPort) -> MetadataPort:
        return await self._db.read(reports.metadata_port, message)

    async def schedule(self) -> None:
        """Place what waits for an agent."""
        if await self._db.read(schedule_agents.work_waits, self._fabric):
            await self._db.write(schedule_agents.schedule, self._fabric)


async def start(rt: Runtime[Any]) -> None:
    """Start the role."""
    server = Server(rt, rt.get(Fabric))
    rt.put(server)
    rt.bus.listen(
        SERVER_TOPIC,
        {
            FetchHostNetworks: server.networks,
            FetchHostRouters: server.routers,
            FetchHostDhcp: server.dhcp,
            ReportPorts: server.ports_reported,
            ReportRouters: server.routers_reported,
            ReportDhcp: server.dhcp_reported,
            AgentHeartbeat: server.heartbeat,
            FindMetadataPort: server.metadata_port,
        },
    )
