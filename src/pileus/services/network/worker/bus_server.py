"""The network server, reached over the bus; and the metadata answers, likewise."""

from __future__ import annotations

from typing import Any

from pileus.kernel.bus import Bus, Message
from pileus.kernel.errors import ServiceError
from pileus.services.network.rpc import (
    METADATA_TOPIC,
    SERVER_TOPIC,
    AgentHeartbeat,
    FetchHostDhcp,
    FetchHostNetworks,
    FetchHostRouters,
    HostDhcp,
    HostNetworks,
    HostRouters,
    MetadataRequest,
    MetadataResponse,
    ReportAccepted,
    ReportDhcp,
    ReportPorts,
    ReportRouters,
)

from .server import ServerUnreachable

CALL_TIMEOUT_S = 20.0


class BusNetworkServer:
    """See `NetworkServer`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def _call(self, message: Message) -> Any:
        try:
            return await self._bus.call(SERVER_TOPIC, message, timeout_s=CALL_TIMEOUT_S)
        except (ServiceError, TimeoutError) as error:
            raise ServerUnreachable(f"{type(message).__name__}: {error or 'no answer in time'}") from error

    async def fetch_networks(self, host: str) -> HostNetworks:
        return await self._call(FetchHostNetworks(host=host))

    async def fetch_routers(self, host: str) -> HostRouters:
        return await self._call(FetchHostRouters(host=host))

    async def fetch_dhcp(self, host: str) -> HostDhcp:
        return await self._call(FetchHostDhcp(host=host))

    async def report_ports(self, report: ReportPorts) -> ReportAccepted:
        return await self._call(report)

    async def report_routers(self, report: ReportRouters) -> ReportAccepted:
        return await self._call(report)

    async def report_dhcp(self, report: ReportDhcp) -> ReportAccepted:
        return await self._call(report)

    async def heartbeat(self, beat: AgentHeartbeat) -> ReportAccepted:
        return await self._call(beat)


class BusMetadataBackend:
    """Asks the compute service over the bus. See `MetadataBackend`."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def __call__(self, request: MetadataRequest) -> MetadataResponse:
        try:
            return await self._bus.call(METADATA_TOPIC, request, timeout_s=CALL_TIMEOUT_S)
        except ServiceError as error:
            raise OSError(f"metadata not answered: {error}") from error
