"""Where a server goes: a scheduler says which hosts fit, the conductor claims the best that lets itself be claimed.

The scheduler only answers. Claiming is the flow's, which alone knows whether its lease still holds: an answer that
comes twice, or from two schedulers, claims nothing.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from pileus.kernel.process import Runtime
from pileus.services.compute.clients.placement import PlacementClient
from pileus.services.compute.db.servers import Server
from pileus.services.compute.errors import HostsSilent, NoValidHost
from pileus.services.compute.rpc import SCHEDULER_TOPIC, SELECT_TIMEOUT_S, Destination, SelectHosts

log = logging.getLogger(__name__)

MAX_ALTERNATIVES = 2
MAX_ROUNDS = 5
"""How often a scheduler is asked because others were faster at every host that it named. Each such round means that
those others have been placed: in a cloud that fills up, the next answer names no host."""


class Wishes(Protocol):
    """The part of a flow's data that says where the server should go."""

    zone: str | None
    requested_host: str | None
    requested_node: str | None
    forced: bool


async def choose(rt: Runtime[Any], server: Server, wishes: Wishes) -> tuple[Destination, list[Destination]]:
    """Claim the best host that can be claimed; returns it and the next best, unclaimed. Raises `NoValidHost`,
    `HostsSilent` when that may be over soon, and `NoListener` or TimeoutError when no scheduler answers."""
    question = SelectHosts(
        server_id=server.id, zone=wishes.zone, requested_host=wishes.requested_host,
        requested_node=wishes.requested_node, forced=wishes.forced,
    )
    explanation = ""
    for _ in range(MAX_ROUNDS):
        found = await rt.bus.call(SCHEDULER_TOPIC, question, timeout_s=SELECT_TIMEOUT_S)
        log.info("scheduling of %s: %s", server.id, found.explanation)
        if not found.hosts:
            raise (HostsSilent if found.silent else NoValidHost)(detail=found.explanation)
        for at, destination in enumerate(found.hosts):
            if await claim(rt, server, destination):
                return destination, list(found.hosts[at + 1 : at + 1 + MAX_ALTERNATIVES])
        explanation = found.explanation
    raise NoValidHost(detail=f"No host could be claimed, others were faster: {explanation}")


async def claim(rt: Runtime[Any], server: Server, destination: Destination) -> bool:
    """Claim what the server needs there, instead of what it has elsewhere. False when there is no room."""
    return await rt.get(PlacementClient).claim(
        server.id, destination.allocations, project_id=server.project_id, user_id=server.user_id,
        mappings=destination.mappings or None,
    )


async def release(rt: Runtime[Any], server_id: str) -> None:
    """Give back what the server has; nothing is fine."""
    await rt.get(PlacementClient).release(server_id)
