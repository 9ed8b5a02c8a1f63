"""Metadata of servers: the user's own names and values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Reply, Route
from pileus.kernel.quota import UNLIMITED
from pileus.services.compute.api import values
from pileus.services.compute.api.servers import loading
from pileus.services.compute.db import servers
from pileus.services.compute.db.quota_classes import ClassQuotas
from pileus.services.compute.errors import MetadataItemNotFound, TooManyMetadataItems

Items = dict[str, str]


async def list_items(call: Call[None]) -> dict[str, Any]:
    """All of a server."""
    return {"metadata": (await loading.load(call)).metadata}


async def show_item(call: Call[None]) -> dict[str, Any]:
    """One of them."""
    items, key = (await loading.load(call)).metadata, call.path["key"]
    if key not in items:
        raise MetadataItemNotFound()
    return {"meta": {key: items[key]}}


async def merge_items(call: Call[Items]) -> dict[str, Any]:
    """Add some, over those of the same names."""
    items = values.metadata(call.body)
    return {"metadata": await _change(call, lambda old: old | items)}


async def replace_items(call: Call[Items]) -> dict[str, Any]:
    """Set all."""
    items = values.metadata(call.body)
    return {"metadata": await _change(call, lambda _old: items)}


async def set_item(call: Call[Items]) -> dict[str, Any]:
    """Set one; the body names it again."""
    items, key = values.metadata(call.body), call.path["key"]
    if set(items) != {key}:
        raise BadRequest("Request body and URI mismatch")
    await _change(call, lambda old: old | items)
    return {"meta": items}


async def delete_item(call: Call[None]) -> Reply:
    """Remove one."""
    key = call.path["key"]

    def without(old: Items) -> Items:
        if key not in old:
            raise MetadataItemNotFound()
        return {name: value for name, value in old.items() if name != key}

    await _change(call, without)
    return Reply(None)


async def _change(call: Call[Any], new_of: Callable[[Items], Items]) -> Items:
    def write(tx: Tx) -> Items:
        server = loading.check(call, servers.get(tx, call.path["server_id"]))
        loading.refuse_if_locked(call, server)
        items = new_of(server.metadata)
        limit = call.rt.get(ClassQuotas).limits(tx, server.project_id)["metadata_items"]
        if UNLIMITED != limit < len(items):
            raise TooManyMetadataItems(limit=limit)
        servers.change(tx, server.id, metadata=items)
        return items

    return await call.rt.db.write(write)


_RULE = "os_compute_api:server-metadata"
_PATH = "/v2.1/servers/{server_id}/metadata"

ROUTES = (
    Route(method="GET", path=_PATH, handler=list_items, policy=f"{_RULE}:index"),
    Route(method="POST", path=_PATH, handler=merge_items, policy=f"{_RULE}:create", body=Items, envelope="metadata"),
    Route(method="PUT", path=_PATH, handler=replace_items, policy=f"{_RULE}:update_all", body=Items,
          envelope="metadata"),
    Route(method="GET", path=_PATH + "/{key}", handler=show_item, policy=f"{_RULE}:show"),
    Route(method="PUT", path=_PATH + "/{key}", handler=set_item, policy=f"{_RULE}:update", body=Items, envelope="meta"),
    Route(method="DELETE", path=_PATH + "/{key}", handler=delete_item, policy=f"{_RULE}:delete", success=204),
)
