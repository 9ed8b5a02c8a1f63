"""Locking a server against its own project's changes."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Reply, Route
from pileus.services.compute.api import values
from pileus.services.compute.api.servers import loading
from pileus.services.compute.db import servers
from pileus.services.compute.errors import ServerLocked


class Lock(msgspec.Struct, forbid_unknown_fields=True):
    locked_reason: values.Name | None = None


async def lock(call: Call[Lock | None]) -> Reply:
    """Nobody but those who may override it changes the server until it is unlocked."""
    if call.body is not None and not call.at_least("2.73"):
        raise BadRequest("Invalid input for field/attribute lock. It is not of type 'null'.")
    reason = call.body.locked_reason if call.body else None

    def write(tx: Tx) -> None:
        server = loading.check(call, servers.get(tx, call.path["server_id"]))
        by = "owner" if server.project_id == call.context.project_id else "admin"
        if server.locked_by is None or by == "admin" or server.locked_by == by:
            servers.change(tx, server.id, locked_by=by, locked_reason=reason)

    await call.rt.db.write(write)
    return Reply(None)


async def unlock(call: Call[Any]) -> Reply:
    """An administrator's lock is opened by an administrator."""

    def write(tx: Tx) -> None:
        server = loading.check(call, servers.get(tx, call.path["server_id"]))
        override = "os_compute_api:os-lock-server:unlock:unlock_override"
        if server.locked_by == "admin" and not call.allows(override, project_id=server.project_id):
            raise ServerLocked(server_id=server.id)
        servers.change(tx, server.id, locked_by=None, locked_reason=None)

    await call.rt.db.write(write)
    return Reply(None)


_ACTION = "/v2.1/servers/{server_id}/action"

ROUTES = (
    Route(method="POST", path=_ACTION, action="lock", handler=lock, policy="os_compute_api:os-lock-server:lock",
          success=202, body=Lock | None),
    Route(method="POST", path=_ACTION, action="unlock", handler=unlock, policy="os_compute_api:os-lock-server:unlock",
          success=202),
)
