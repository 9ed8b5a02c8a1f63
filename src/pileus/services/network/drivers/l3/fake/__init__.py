"""An L3 driver without a host: remembers, and reports every router up at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pileus.services.network.rpc import HostRouter, HostRouters, RouterReport


class FakeL3Driver:
    """See `L3Driver`. `routers` is what an observer may look at."""

    def __init__(self) -> None:
        self.routers: dict[str, HostRouter] = {}

    async def start(self, changed: Callable[[], None], last: HostRouters | None) -> None:
        return None

    async def apply(self, desired: HostRouters) -> tuple[RouterReport, ...]:
        self.routers = {router.id: router for router in desired.routers}
        return tuple(
            RouterReport(
                router_id=router.id,
                status="ACTIVE",
                floating_ips=tuple(floating.id for floating in router.floating_ips),
            )
            for router in desired.routers
        )

    def configurations(self) -> dict[str, Any]:
        return {"agent_mode": "legacy"}

    async def close(self) -> None:
        return None
