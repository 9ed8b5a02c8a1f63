"""Setting a server's state by hand, for administrators."""

from __future__ import annotations

from typing import Literal

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.compute.api.servers import loading
from pileus.services.compute.db import servers


class ResetState(msgspec.Struct, forbid_unknown_fields=True):
    state: Literal["active", "error"]


async def reset_state(call: Call[ResetState]) -> Reply:
    """What was under way and is stuck ends without a result: a newer generation stands over it."""

    def write(tx: Tx) -> None:
        server = loading.check(call, servers.get(tx, call.path["server_id"]))
        servers.change(tx, server.id, vm_state=call.body.state, task_state=None, generation=server.generation + 1)

    await call.rt.db.write(write)
    return Reply(None)


ROUTES = (
    Route(method="POST", path="/v2.1/servers/{server_id}/action", action="os-resetState", handler=reset_state,
          policy="os_compute_api:os-admin-actions:reset_state", success=202, body=ResetState),
)
