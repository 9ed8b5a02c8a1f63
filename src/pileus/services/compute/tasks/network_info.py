"""Keeps what servers' rows remember of their interfaces in step with the network service."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.errors import RemoteError
from pileus.kernel.process import Runtime
from pileus.services.compute.clients.network import NetworkClient, Port
from pileus.services.compute.db import servers
from pileus.services.compute.logic import network_info

log = logging.getLogger(__name__)

REFRESH_ALL_EVERY_S = 120.0
BATCH = 100
INSIST_EVERY_S = 1.0
RETRY_S = 5.0
"""After a failure, such as a database that is away."""


async def refresh_server(rt: Runtime[Any], server_id: str) -> None:
    """Read one server's ports anew."""
    await refresh(rt, [server_id])


async def refresh(rt: Runtime[Any], server_ids: list[str]) -> None:
    """Read the ports of these servers anew and write down what changed: four calls for all of them together."""
    client = rt.get(NetworkClient)
    ports = await client.ports(device_id=server_ids)
    by_server: dict[str, list[Port]] = defaultdict(list)
    for port in ports:
        by_server[port.device_id].append(port)
    floating = network_info.floating_by_fixed(
        await client.floating_ips([port.id for port in ports]) if ports else []
    )
    groups, networks = await _names(client, ports)
    await rt.db.write(_write, server_ids, by_server, floating, groups, networks)


async def _names(client: NetworkClient, ports: list[Port]) -> tuple[dict[str, str], dict[str, str]]:
    if not ports:
        return {}, {}
    group_ids = sorted({group for port in ports for group in port.security_groups})
    groups = {g.id: g.name for g in await client.security_groups(id=group_ids)} if group_ids else {}
    networks = {n.id: n.name for n in await client.networks(ids=sorted({port.network_id for port in ports}))}
    return groups, networks


def _write(
    tx: Tx, server_ids: Iterable[str], by_server: dict[str, list[Port]], floating: Any, groups: dict[str, str],
    networks: dict[str, str],
) -> None:
    for server_id in server_ids:
        server = servers.get(tx, server_id)
        # While something is done to a server, the flow that does it says what the interfaces are.
        if server is None or server.task_state is not None:
            continue
        known = {vif.port_id for vif in server.network_info}
        own = [p for p in by_server.get(server_id, ()) if p.id in known or p.tenant_id == server.project_id]
        now = network_info.refreshed(server.network_info, own, floating, groups, networks)
        if now != server.network_info:
            servers.change(tx, server_id, network_info=now, updated_at=server.updated_at)


class NetworkInfoKeeper:
    """Rung with a server's id, refreshes it soon; and all of them every so often, in case a ring was lost."""

    def __init__(self, rt: Runtime[Any]) -> None:
        self._rt = rt
        self._due: set[str] = set()
        self._insisting: set[str] = set()
        self._one_refresh = asyncio.Lock()  # of two at once, the one that read first could be the last to write
        self._refreshing = rt.every(RETRY_S, self._refresh_due, name="compute network info")
        rt.every(REFRESH_ALL_EVERY_S, self.refresh_all, name="compute network info of all")

    def ring(self, server_id: str, *, insist: bool = False) -> None:
        """Something about the server's ports changed. insist: something that a flow which is at work on the server
        does not learn by itself, so once that has ended the server is looked at."""
        self._due.add(server_id)
        if insist:
            self._insisting.add(server_id)
        self._refreshing.ring()

    async def _refresh_due(self) -> None:
        while self._due:
            batch = [self._due.pop() for _ in range(min(BATCH, len(self._due)))]
            try:
                await self._refresh(batch)
            except BaseException:
                self._due.update(batch)
                raise

    async def refresh_all(self) -> None:
        """Every live server, in batches."""
        after = ""
        while ids := await self._rt.db.read(_some_ids, after):
            await self._refresh(ids)
            after = ids[-1]

    async def _refresh(self, ids: list[str]) -> None:
        async with self._one_refresh:
            again = insisting = self._insisting.intersection(ids)
            self._insisting -= insisting
            try:
                # What flows are at work on, they describe themselves.
                resting, busy = await self._rt.db.read(_resting_and_busy, ids)
                if resting:
                    await refresh(self._rt, resting)
                again = insisting.intersection(busy)
            except RemoteError as error:
                log.warning("reading ports of %d servers failed: %s", len(ids), error.text)
            finally:
                if again:
                    asyncio.get_running_loop().call_later(INSIST_EVERY_S, self._insist, again)

    def _insist(self, server_ids: set[str]) -> None:
        for server_id in server_ids:
            self.ring(server_id, insist=True)


def _resting_and_busy(tx: Tx, ids: list[str]) -> tuple[list[str], list[str]]:
    return servers.resting_ids(tx, ids), servers.busy_ids(tx, ids)


def _some_ids(tx: Tx, after: str) -> list[str]:
    return servers.ids_after(tx, after, BATCH)
