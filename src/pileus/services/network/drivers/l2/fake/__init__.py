"""An L2 driver without a host: remembers, and reports every port up at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pileus.services.network.rpc import HostNetworks, HostPort, PortReport


class FakeL2Driver:
    """See `L2Driver`. `ports` is what an observer may look at."""

    def __init__(self) -> None:
        self.ports: dict[str, HostPort] = {}
        self.generation = 0

    async def start(self, changed: Callable[[], None], last: HostNetworks | None) -> None:
        if last is not None:
            await self.apply(last)

    async def apply(self, desired: HostNetworks) -> tuple[PortReport, ...]:
        self.ports = {port.id: port for port in desired.ports}
        self.generation = desired.generation
        return tuple(
            PortReport(port_id=port.id, status="ACTIVE" if port.admin_state_up else "DOWN") for port in desired.ports
        )

    def configurations(self) -> dict[str, Any]:
        return {"bridge_mappings": {}, "tunneling_ip": "", "tunnel_types": []}

    async def close(self) -> None:
        return None
