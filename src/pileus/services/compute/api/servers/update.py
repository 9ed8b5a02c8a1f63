"""Changing what a server is called and shows; nothing that its guest has."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.services.compute.api import values
from pileus.services.compute.api.servers import extras, loading
from pileus.services.compute.api.servers.bodies import UpdateServer
from pileus.services.compute.api.servers.create_request import check_address, check_zone
from pileus.services.compute.api.servers.view import Viewer
from pileus.services.compute.db import servers
from pileus.services.compute.logic import hostnames


async def update_server(call: Call[UpdateServer]) -> dict[str, Any]:
    """Answers with the server."""
    changes = _changes(call)

    def write(tx: Tx) -> Any:
        loading.check(call, servers.get(tx, call.path["server_id"]))
        check_zone(tx, changes.get("pinned_zone"))
        servers.change(tx, call.path["server_id"], **changes)
        server = servers.get(tx, call.path["server_id"])
        assert server is not None
        return server, extras.of_one(tx, server)

    server, more = await call.rt.db.write(write)
    return {"server": Viewer(call).after_change(server, more)}


def _changes(call: Call[UpdateServer]) -> dict[str, Any]:
    body, changes = call.body, dict[str, Any]()
    if isinstance(body.name, str):
        changes["name"] = values.name(body.name)
    for field, column, version in (("accessIPv4", "access_ip_v4", 4), ("accessIPv6", "access_ip_v6", 6)):
        address = getattr(body, field)
        if values.given(address):
            check_address(address, field, version)
            changes[column] = address or None
    if values.given(body.description):
        changes["description"] = body.description
    if isinstance(body.disk_config, str):
        changes["disk_config"] = body.disk_config
    if isinstance(body.hostname, str):
        changes["hostname"] = hostnames.checked(body.hostname, qualified=call.at_least("2.94"))
    if values.given(body.pinned_availability_zone):
        changes["pinned_zone"] = body.pinned_availability_zone
    return changes


ROUTES = (
    Route(method="PUT", path="/v2.1/servers/{server_id}", handler=update_server, body=UpdateServer, envelope="server",
          policy="os_compute_api:servers:update"),
)
