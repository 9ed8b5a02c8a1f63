"""Tags of servers (2.26)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Reply, Route
from pileus.services.compute.api.servers import loading
from pileus.services.compute.api.servers.create_request import MAX_TAGS, check_tags
from pileus.services.compute.db import servers, tags
from pileus.services.compute.errors import TagNotFound


async def list_tags(call: Call[None]) -> dict[str, Any]:
    """All of a server."""
    server = await loading.load(call)
    return {"tags": (await call.rt.db.read(tags.of_servers, [server.id])).get(server.id, [])}


async def check_tag(call: Call[None]) -> Reply:
    """204 when it is there."""
    server = await loading.load(call)
    if call.path["tag"] not in (await call.rt.db.read(tags.of_servers, [server.id])).get(server.id, []):
        raise TagNotFound(server_id=server.id, tag=call.path["tag"])
    return Reply(None)


async def replace_tags(call: Call[list[str]]) -> dict[str, Any]:
    """Set all."""
    wanted = check_tags(call.body)

    def write(tx: Tx) -> None:
        server = loading.check(call, servers.get(tx, call.path["server_id"]))
        tags.replace(tx, server.id, wanted)
        servers.change(tx, server.id)

    await call.rt.db.write(write)
    return {"tags": wanted}


async def add_tag(call: Call[None]) -> Reply:
    """201 when it is new, 204 when it was there."""
    (tag,) = check_tags([call.path["tag"]])

    def write(tx: Tx) -> bool:
        server = loading.check(call, servers.get(tx, call.path["server_id"]))
        known = tags.of_servers(tx, [server.id]).get(server.id, [])
        if tag in known:
            return False
        if len(known) >= MAX_TAGS:
            raise BadRequest(f"The number of tags exceeded the per-server limit {MAX_TAGS}")
        tags.replace(tx, server.id, [*known, tag])
        servers.change(tx, server.id)
        return True

    if not await call.rt.db.write(write):
        return Reply(None, status=204)
    location = f"{call.base_url}/v2.1/servers/{call.path['server_id']}/tags/{quote(tag, safe='')}"
    return Reply(None, status=201, headers={"Location": location})


async def delete_tag(call: Call[None]) -> Reply:
    """Remove one."""

    def write(tx: Tx) -> None:
        server = loading.check(call, servers.get(tx, call.path["server_id"]))
        if not tags.remove(tx, server.id, call.path["tag"]):
            raise TagNotFound(server_id=server.id, tag=call.path["tag"])
        servers.change(tx, server.id)

    await call.rt.db.write(write)
    return Reply(None)


async def delete_tags(call: Call[None]) -> Reply:
    """Remove all."""

    def write(tx: Tx) -> None:
        server = loading.check(call, servers.get(tx, call.path["server_id"]))
        tags.replace(tx, server.id, ())
        servers.change(tx, server.id)

    await call.rt.db.write(write)
    return Reply(None)


_RULE = "os_compute_api:os-server-tags"
_PATH = "/v2.1/servers/{server_id}/tags"

ROUTES = (
    Route(method="GET", path=_PATH, handler=list_tags, policy=f"{_RULE}:index", since="2.26"),
    Route(method="PUT", path=_PATH, handler=replace_tags, policy=f"{_RULE}:update_all", since="2.26", body=list[str],
          envelope="tags"),
    Route(method="DELETE", path=_PATH, handler=delete_tags, policy=f"{_RULE}:delete_all", since="2.26", success=204),
    Route(method="GET", path=_PATH + "/{tag}", handler=check_tag, policy=f"{_RULE}:show", since="2.26", success=204),
    Route(method="PUT", path=_PATH + "/{tag}", handler=add_tag, policy=f"{_RULE}:update", since="2.26", success=201),
    Route(method="DELETE", path=_PATH + "/{tag}", handler=delete_tag, policy=f"{_RULE}:delete", since="2.26",
          success=204),
)
