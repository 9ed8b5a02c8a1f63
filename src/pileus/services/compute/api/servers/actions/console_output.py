"""The tail of a server's console log."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.bus import NoListener
from pileus.kernel.errors import BadRequest, Conflict
from pileus.kernel.http import Call, Route
from pileus.services.compute.api import values
from pileus.services.compute.api.servers import loading
from pileus.services.compute.errors import HostUnreachable, ServerNotReady
from pileus.services.compute.rpc import MAX_CONSOLE_LINES, QUERY_TIMEOUT_S, ConsoleLog, ConsoleText, agent_topic


class GetConsoleOutput(msgspec.Struct, forbid_unknown_fields=True):
    length: int | str | None = None


async def console_output(call: Call[GetConsoleOutput | None]) -> dict[str, Any]:
    """The last `length` lines, or all that is kept."""
    length = call.body.length if call.body else None
    lines = None
    if length is not None and str(length) != "-1":
        if str(length) == "":
            raise BadRequest("Invalid input for field/attribute length. It is not an integer.")
        lines = min(values.number(length, "length", minimum=-1), MAX_CONSOLE_LINES)
    server = await loading.load(call)
    if server.host is None:
        raise ServerNotReady(server_id=server.id)
    try:
        message = ConsoleLog(server_id=server.id, lines=lines)
        text: ConsoleText = await call.rt.bus.call(agent_topic(server.host), message, timeout_s=QUERY_TIMEOUT_S)
    except (NoListener, TimeoutError) as error:
        raise HostUnreachable(detail=str(error)) from None
    if text.fault is not None:
        if text.fault.code in ("unknown_server", "not_prepared"):
            raise ServerNotReady(server_id=server.id)
        raise Conflict(text.fault.message, detail=text.fault.detail)
    return {"output": text.output}


ROUTES = (
    Route(method="POST", path="/v2.1/servers/{server_id}/action", action="os-getConsoleOutput", handler=console_output,
          policy="os_compute_api:os-console-output", body=GetConsoleOutput | None),
)
