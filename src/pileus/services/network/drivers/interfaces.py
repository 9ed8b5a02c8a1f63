"""What the agents ask of their drivers. One interface per kind, one `fake` per kind.

All drivers follow the same contract:

* `start` is called until it succeeds once, before anything else; `last` is what an earlier process was told to have,
  and so what it may have left on the host. The driver calls `changed` when the host changed under it and `apply`
  should run soon.
* `apply` makes the host what the desired state says, and returns one report per port, router or network in it, but
  for those that are not through yet. It is idempotent, touches nothing that is right already, and never lets one bad
  item stop the others: that item is reported as ERROR with a reason.
* `close` ends what lives in this process only. What serves guests stays on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pileus.services.network.rpc import (
    DhcpReport,
    HostDhcp,
    HostNetworks,
    HostRouters,
    MetadataRequest,
    MetadataResponse,
    PortReport,
    RouterReport,
)


class L2Driver(Protocol):
    """Carries networks to a host and filters its ports."""

    async def start(self, changed: Callable[[], None], last: HostNetworks | None) -> None: ...

    async def apply(self, desired: HostNetworks) -> tuple[PortReport, ...]: ...

    def configurations(self) -> dict[str, Any]: ...

    async def close(self) -> None: ...


class L3Driver(Protocol):
    """Routes between networks, translates addresses."""

    async def start(self, changed: Callable[[], None], last: HostRouters | None) -> None: ...

    async def apply(self, desired: HostRouters) -> tuple[RouterReport, ...]: ...

    def configurations(self) -> dict[str, Any]: ...

    async def close(self) -> None: ...


class DhcpDriver(Protocol):
    """Hands out addresses."""

    async def start(self, changed: Callable[[], None], last: HostDhcp | None) -> None: ...

    async def apply(self, desired: HostDhcp) -> tuple[DhcpReport, ...]: ...

    def configurations(self) -> dict[str, Any]: ...

    async def close(self) -> None: ...


class MetadataBackend(Protocol):
    """Answers a guest's metadata request; raises nothing but OSError and TimeoutError (answered as 503)."""

    async def __call__(self, request: MetadataRequest) -> MetadataResponse: ...
