"""Creating servers: one or many in one request."""

from __future__ import annotations

from pileus.kernel.http import Call, Reply, Route
from pileus.services.compute.api import values
from pileus.services.compute.api.servers.bodies import CreateServer
from pileus.services.compute.api.servers.create_request import accept


async def create_servers(call: Call[CreateServer]) -> Reply:
    """Write the intent and answer; the conductor builds."""
    accepted = await accept(call, call.body.server, call.body.hints or call.body.old_hints)
    if values.flag(call.body.server.return_reservation_id, "return_reservation_id"):
        return Reply({"reservation_id": accepted.reservation_id})
    first = accepted.server_ids[0]
    links = values.links(call.base_url, "servers", first)
    shown = {
        "id": first, "links": links, "OS-DCF:diskConfig": call.body.server.disk_config,
        "security_groups": [{"name": name} for name in accepted.group_names], "adminPass": accepted.admin_password,
    }
    return Reply({"server": shown}, headers={"Location": links[0]["href"]})


ROUTES = (
    Route(method="POST", path="/v2.1/servers", handler=create_servers, policy="os_compute_api:servers:create",
          success=202, body=CreateServer),
)
