"""Quotas per project."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.kernel.errors import Forbidden
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import ANY_TOKEN, Route
from pileus.services.network.api import checks
from pileus.services.network.api.attributes import json_object, target_of
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.metadata import QUOTAS
from pileus.services.network.errors import HTTPBadRequest, TenantQuotaNotFound

LIMIT = checks.integer(-1, (1 << 31) - 1)
MAX_PROJECTS = 10_000


def _allowed_project(call: Call[Any], rule: str) -> str:
    project_id = call.path["project_id"]
    if len(project_id) > 64 or not call.allows(rule, **target_of(project_id)):
        raise Forbidden(rule=rule)
    return project_id


async def show_quota(call: Call[None]) -> dict[str, Any]:
    project_id = _allowed_project(call, "get_quota")
    return {"quota": await call.rt.db.read(call.rt.get(Fabric).limits.limits, project_id)}


async def show_default_quota(call: Call[None]) -> dict[str, Any]:
    _allowed_project(call, "get_quota")
    return {"quota": dict(call.rt.get(Fabric).limits.defaults)}


async def show_quota_details(call: Call[None]) -> dict[str, Any]:
    project_id = _allowed_project(call, "get_quota")
    limits = call.rt.get(Fabric).limits

    def load(tx: Tx) -> dict[str, Any]:
        return {
            name: {"limit": limit, "used": limits.used(tx, project_id, name), "reserved": 0}
            for name, limit in limits.limits(tx, project_id).items()
        }

    return {"quota": await call.rt.db.read(load)}


async def list_quotas(call: Call[None]) -> dict[str, Any]:
    limits = call.rt.get(Fabric).limits

    def load(tx: Tx) -> list[dict[str, Any]]:
        ids = [row.project_id for row in tx.all(select(QUOTAS.c.project_id).distinct().limit(MAX_PROJECTS))]
        return [{**limits.limits(tx, each), "project_id": each, "tenant_id": each} for each in ids]

    return {"quotas": await call.rt.db.read(load)}


async def show_own_project(call: Call[None]) -> dict[str, Any]:
    """Which project the caller's token is for, under the name that clients ask for it."""
    return {"tenant": {"tenant_id": call.context.project_id, "project_id": call.context.project_id}}


def _limits(call: Call[Any]) -> dict[str, int]:
    body = json_object(call).get("quota")
    if not isinstance(body, dict) or not body:
        raise HTTPBadRequest(reason="Unable to find 'quota' in request body")
    known = call.rt.get(Fabric).limits.limited
    values: dict[str, int] = {}
    for name, value in body.items():
        if name in ("project_id", "tenant_id", "force", "check_limit"):
            continue
        if name not in known:
            raise HTTPBadRequest(reason=f"Unrecognized attribute(s) '{checks.shown(name)}'")
        try:
            values[name] = LIMIT(value)
        except ValueError as error:
            raise HTTPBadRequest(reason=f"Invalid input for {name}. Reason: {error}.") from None
    return values


async def update_quota(call: Call[None]) -> dict[str, Any]:
    project_id = _allowed_project(call, "update_quota")
    values, limits = _limits(call), call.rt.get(Fabric).limits

    def update(tx: Tx) -> dict[str, int]:
        limits.set(tx, project_id, values)
        return limits.limits(tx, project_id)

    return {"quota": await call.rt.db.write(update)}


async def delete_quota(call: Call[None]) -> None:
    project_id = _allowed_project(call, "delete_quota")

    def remove(tx: Tx) -> None:
        if tx.first(select(QUOTAS).where(QUOTAS.c.project_id == project_id).limit(1)) is None:
            raise TenantQuotaNotFound(id=project_id)
        call.rt.get(Fabric).limits.reset(tx, project_id)

    await call.rt.db.write(remove)


ONE = "/v2.0/quotas/{project_id}"
# Whose quota it is decides the rule, so handlers enforce it on the project of the path.
ROUTES = (
    Route(method="GET", path="/v2.0/quotas", handler=list_quotas, policy="get_quotas"),
    Route(method="GET", path="/v2.0/quotas/tenant", handler=show_own_project, policy=ANY_TOKEN),
    Route(method="GET", path="/v2.0/quotas/project", handler=show_own_project, policy=ANY_TOKEN),
    Route(method="GET", path=ONE, handler=show_quota, policy=ANY_TOKEN),
    Route(method="PUT", path=ONE, handler=update_quota, policy="update_quota"),
    Route(method="DELETE", path=ONE, handler=delete_quota, policy="delete_quota", success=204),
    Route(method="GET", path=ONE + "/default", handler=show_default_quota, policy=ANY_TOKEN),
    Route(method="GET", path=ONE + "/default.json", handler=show_default_quota, policy=ANY_TOKEN),
    Route(method="GET", path=ONE + "/details", handler=show_quota_details, policy=ANY_TOKEN),
    Route(method="GET", path=ONE + "/details.json", handler=show_quota_details, policy=ANY_TOKEN),
)
