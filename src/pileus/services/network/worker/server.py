"""What agents need from the network server, whatever carries it."""

from __future__ import annotations

from typing import Protocol

from pileus.services.network.rpc import (
    AgentHeartbeat,
    HostDhcp,
    HostNetworks,
    HostRouters,
    ReportAccepted,
    ReportDhcp,
    ReportPorts,
    ReportRouters,
)


class ServerUnreachable(Exception):
    """The server did not answer in time, or not usably. Agents go on with what they know and try again."""


class NetworkServer(Protocol):
    """Each call raises ServerUnreachable and nothing else."""

    async def fetch_networks(self, host: str) -> HostNetworks: ...

    async def fetch_routers(self, host: str) -> HostRouters: ...

    async def fetch_dhcp(self, host: str) -> HostDhcp: ...

    async def report_ports(self, report: ReportPorts) -> ReportAccepted: ...

    async def report_routers(self, report: ReportRouters) -> ReportAccepted: ...

    async def report_dhcp(self, report: ReportDhcp) -> ReportAccepted: ...

    async def heartbeat(self, beat: AgentHeartbeat) -> ReportAccepted: ...
