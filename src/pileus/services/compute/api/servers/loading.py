"""Finding the server that a request is about, for callers who may know of it."""

from __future__ import annotations

from typing import Any

from pileus.kernel.http import Call
from pileus.services.compute.db import servers
from pileus.services.compute.db.servers import Server
from pileus.services.compute.errors import ServerLocked, ServerNotFound


def may_know(call: Call[Any], server: Server) -> bool:
    """Whether the caller may learn that the server exists."""
    return server.project_id == call.context.project_id or call.allows("context_is_admin")


def check(call: Call[Any], server: Server | None, *rules: str) -> Server:
    """The server, if the caller may do this to it. 404 for what they may not know of, 403 for the rest."""
    if server is None or not may_know(call, server):
        raise ServerNotFound(server_id=call.path["server_id"])
    for rule in rules or (call.route.policy,):
        call.enforce(rule, project_id=server.project_id, user_id=server.user_id)
    return server


async def load(call: Call[Any], *rules: str, deleted: bool = False) -> Server:
    """Read the server of the path's `server_id` and check the route's policy rule (or `rules`) against it."""
    return check(call, await call.rt.db.read(servers.get, call.path["server_id"], deleted=deleted), *rules)


def refuse_if_locked(call: Call[Any], server: Server) -> None:
    """A locked server takes no orders but from those who may override the lock."""
    if server.locked_by is not None and not call.allows("context_is_admin"):
        raise ServerLocked(server_id=server.id)
