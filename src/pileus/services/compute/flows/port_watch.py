"""Waiting until the network service has wired ports: told by its events, asking only when one may have been missed."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable

from pileus.kernel.errors import RemoteError
from pileus.services.compute.clients.network import NetworkClient

log = logging.getLogger(__name__)

REMEMBERED_PORTS = 20_000
ASK_AGAIN_S = 5.0
ACTIVE = "ACTIVE"


class PortWatch:
    """The newest status of ports that this process heard of, and those who wait for a change."""

    def __init__(self, network: NetworkClient) -> None:
        self._network = network
        self._status: OrderedDict[str, str] = OrderedDict()
        self._waiting: dict[str, asyncio.Event] = {}

    def heard(self, port_id: str, status: str) -> None:
        """A port has that status now."""
        self._status[port_id] = status
        self._status.move_to_end(port_id)
        while len(self._status) > REMEMBERED_PORTS:
            self._status.popitem(last=False)
        if port_id in self._waiting:
            self._waiting[port_id].set()

    def forget(self, port_ids: Iterable[str]) -> None:
        """What was heard no longer counts (the ports move to another host, or go)."""
        for port_id in port_ids:
            self._status.pop(port_id, None)

    async def until_active(self, port_ids: Iterable[str], timeout_s: float) -> None:
        """Return when all are ACTIVE. Raises TimeoutError, which names those that are not."""
        missing = {port_id for port_id in port_ids if self._status.get(port_id) != ACTIVE}
        if not missing:
            return
        bells = {port_id: self._waiting.setdefault(port_id, asyncio.Event()) for port_id in missing}
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait(missing, bells)
        except TimeoutError:
            raise TimeoutError(f"ports not wired in {timeout_s:g} s: {', '.join(sorted(missing))}") from None
        finally:
            for port_id in bells:
                self._waiting.pop(port_id, None)

    async def _wait(self, missing: set[str], bells: dict[str, asyncio.Event]) -> None:
        while True:
            first = next(iter(missing))
            try:
                async with asyncio.timeout(ASK_AGAIN_S):
                    await bells[first].wait()
            except TimeoutError:
                await self._ask(missing)
            bells[first].clear()
            missing -= {port_id for port_id in missing if self._status.get(port_id) == ACTIVE}
            if not missing:
                return

    async def _ask(self, port_ids: set[str]) -> None:
        """What events may not have told; a network service that does not answer now is asked again later."""
        try:
            found = await self._network.ports(ids=sorted(port_ids))
        except RemoteError as error:
            log.warning("asking for %d ports failed: %s", len(port_ids), error.text)
            return
        for port in found:
            self.heard(port.id, port.status)
