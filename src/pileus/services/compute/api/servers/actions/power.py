"""Starting, stopping and rebooting."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.flows import Flow
from pileus.kernel.http import Call, Reply, Route
from pileus.services.compute.api.servers import loading
from pileus.services.compute.db import FLOWS, servers
from pileus.services.compute.flows import reboot_server, start_server, stop_server
from pileus.services.compute.flows.power import PowerData

SHUTDOWN_TIMEOUT_PROPERTY = "os_shutdown_timeout"
SHUTDOWN_TIMEOUT_S = 60
MAX_SHUTDOWN_TIMEOUT_S = 1_800


class RebootServer(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]


async def start(call: Call[Any]) -> Reply:
    """Power on."""
    await call.rt.db.write(_begin, call, "start", start_server.FLOW)
    return Reply(None)


async def stop(call: Call[Any]) -> Reply:
    """Power off."""
    await call.rt.db.write(_begin, call, "stop", stop_server.FLOW)
    return Reply(None)


async def reboot(call: Call[RebootServer]) -> Reply:
    """Restart; SOFT asks the guest first."""
    kind = call.body.type.upper()
    await call.rt.db.write(_begin, call, f"reboot_{kind.lower()}", reboot_server.FLOW, reboot_type=kind)
    return Reply(None)


def _begin(tx: Tx, call: Call[Any], action: str, flow: Flow, **more: Any) -> None:
    server = loading.check(call, servers.get(tx, call.path["server_id"]))
    loading.refuse_if_locked(call, server)
    begun = servers.begin(tx, server.id, action)
    text = server.image.properties.get(SHUTDOWN_TIMEOUT_PROPERTY, "") if server.image else ""
    timeout_s = min(int(text), MAX_SHUTDOWN_TIMEOUT_S) if text.isdigit() and len(text) < 6 else SHUTDOWN_TIMEOUT_S
    data = PowerData(
        server_id=server.id, generation=begun.generation, vm_state=server.vm_state, 
        soft_timeout_s=float(timeout_s), **more,
    )
    FLOWS.start(tx, flow, server.id, data, call.context)


_ACTION = "/v2.1/servers/{server_id}/action"

ROUTES = (
    Route(method="POST", path=_ACTION, action="os-start", handler=start, success=202,
          policy="os_compute_api:servers:start"),
    Route(method="POST", path=_ACTION, action="os-stop", handler=stop, success=202,
          policy="os_compute_api:servers:stop"),
    Route(method="POST", path=_ACTION, action="reboot", handler=reboot, success=202, body=RebootServer,
          policy="os_compute_api:servers:reboot"),
)
