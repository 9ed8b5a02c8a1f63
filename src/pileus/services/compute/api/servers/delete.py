"""Deleting servers, at any moment of their life."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.compute.api.servers import loading
from pileus.services.compute.db import FLOWS, servers
from pileus.services.compute.flows import delete_server
from pileus.services.compute.flows.delete_server import DeleteServerData


async def delete(call: Call[Any]) -> Reply:
    """Whatever is under way is cancelled and undone first. Deleting twice is deleting once."""
    await call.rt.db.write(_write, call)
    return Reply(None)


def _write(tx: Tx, call: Call[Any]) -> None:
    server = loading.check(call, servers.get(tx, call.path["server_id"]))
    loading.refuse_if_locked(call, server)
    if delete_server.FLOW.name in FLOWS.active(tx, server.id):
        return
    begun = servers.begin(tx, server.id, "delete")
    FLOWS.cancel(tx, server.id)
    data = DeleteServerData(server_id=server.id, generation=begun.generation)
    FLOWS.start(tx, delete_server.FLOW, server.id, data, call.context)


ROUTES = (
    Route(method="DELETE", path="/v2.1/servers/{server_id}", handler=delete, success=204,
          policy="os_compute_api:servers:delete"),
    Route(method="POST", path="/v2.1/servers/{server_id}/action", action="forceDelete", handler=delete, success=202,
          policy="os_compute_api:os-deferred-delete:force"),
)
