"""/v2/info: stores, import methods, quota usage."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, Call, Route
from pileus.kernel.quota import UNLIMITED, Quotas
from pileus.services.image.worker.stores import Stores


async def list_stores(call: Call[None]) -> dict[str, Any]:
    """The stores that take images."""
    return {"stores": [_store(call, name) for name in call.rt.get(Stores).names]}


async def list_stores_detail(call: Call[None]) -> dict[str, Any]:
    """The stores with their set-up, for administrators."""
    stores = call.rt.get(Stores)
    details = [{"type": name, "properties": dict(stores[name].details())} for name in stores.names]
    return {"stores": [_store(call, detail["type"]) | detail for detail in details]}


def _store(call: Call[None], name: str) -> dict[str, Any]:
    default = {"default": "true"} if name == call.rt.get(Stores).default else {}
    return {"id": name} | default


async def import_methods(call: Call[None]) -> dict[str, Any]:
    """None: data comes by upload only."""
    return {"import-methods": {"description": "Import methods available.", "type": "array", "value": []}}


async def usage(call: Call[None]) -> dict[str, Any]:
    """The project's limits and what it has of each."""
    return {"usage": await call.rt.db.read(_usage, call.rt.get(Quotas), call.context.project_id)}


def _usage(tx: Tx, quotas: Quotas, project_id: str | None) -> dict[str, Any]:
    if project_id is None:
        return {name: {"limit": UNLIMITED, "usage": 0} for name in quotas.limited}
    return {
        name: {"limit": limit, "usage": quotas.used(tx, project_id, name)}
        for name, limit in quotas.limits(tx, project_id).items()
    }


ROUTES = (
    Route(method="GET", path="/v2/info/stores", handler=list_stores, policy=ANY_TOKEN),
    Route(method="GET", path="/v2/info/stores/detail", handler=list_stores_detail, policy="stores_info_detail"),
    Route(method="GET", path="/v2/info/import", handler=import_methods, policy=ANY_TOKEN),
    Route(method="GET", path="/v2/info/usage", handler=usage, policy=ANY_TOKEN),
)
