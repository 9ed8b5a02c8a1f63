"""A DHCP driver without a host: remembers, and reports every lease provisioned at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pileus.services.network.rpc import DhcpNetwork, DhcpReport, HostDhcp


class FakeDhcpDriver:
    """See `DhcpDriver`. `networks` is what an observer may look at."""

    def __init__(self) -> None:
        self.networks: dict[str, DhcpNetwork] = {}

    async def start(self, changed: Callable[[], None], last: HostDhcp | None) -> None:
        return None

    async def apply(self, desired: HostDhcp) -> tuple[DhcpReport, ...]:
        self.networks = {network.id: network for network in desired.networks}
        return tuple(
            DhcpReport(
                network_id=network.id, status="ACTIVE", port_ids=tuple(host.port_id for host in network.hosts)
            )
            for network in desired.networks
        )

    def configurations(self) -> dict[str, Any]:
        return {"dhcp_driver": "fake"}

    async def close(self) -> None:
        return None
