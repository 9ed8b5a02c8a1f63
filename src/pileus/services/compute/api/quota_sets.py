"""Quotas of projects."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Reply, Route
from pileus.kernel.quota import UNLIMITED
from pileus.services.compute.api import queries, values
from pileus.services.compute.db.quota_classes import ClassQuotas
from pileus.services.compute.quotas import INJECTION_LIMITS, NETWORK_LIMITS

Limit = values.Number


class UpdateQuotas(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    instances: Limit | None = None
    cores: Limit | None = None
    ram: Limit | None = None
    key_pairs: Limit | None = None
    metadata_items: Limit | None = None
    server_groups: Limit | None = None
    server_group_members: Limit | None = None
    injected_files: Limit | None = None
    injected_file_content_bytes: Limit | None = None
    injected_file_path_bytes: Limit | None = None
    fixed_ips: Limit | None = None
    floating_ips: Limit | None = None
    security_groups: Limit | None = None
    security_group_rules: Limit | None = None
    tenant_id: str | None = None
    force: values.Flag = False


def _shown(call: Call[Any], items: dict[str, Any]) -> dict[str, Any]:
    hidden: set[str] = set()
    if call.at_least("2.36"):
        hidden |= NETWORK_LIMITS
    if call.at_least("2.57"):
        hidden |= INJECTION_LIMITS
    return {name: value for name, value in items.items() if name not in hidden}


def _target(call: Call[Any], rule: str) -> str:
    queries.only(call, "user_id")
    project_id = call.path["project_id"]
    call.enforce(f"os_compute_api:os-quota-sets:{rule}", project_id=project_id)
    return project_id


async def show_quotas(call: Call[None]) -> dict[str, Any]:
    """Limits of a project."""
    project_id = _target(call, "show")
    limits = await call.rt.db.read(call.rt.get(ClassQuotas).limits, project_id)
    return {"quota_set": {"id": project_id, **_shown(call, limits)}}


async def show_defaults(call: Call[None]) -> dict[str, Any]:
    """What a project has of which nothing was set."""
    defaults = await call.rt.db.read(call.rt.get(ClassQuotas).class_limits)
    return {"quota_set": {"id": call.path["project_id"], **_shown(call, defaults)}}


async def show_detail(call: Call[None]) -> dict[str, Any]:
    """Limits with what is used."""
    project_id, quotas = _target(call, "detail"), call.rt.get(ClassQuotas)

    def read(tx: Tx) -> dict[str, Any]:
        found = {}
        for name, limit in quotas.limits(tx, project_id).items():
            # Key pairs belong to users: a project uses none.
            used = 0 if name == "key_pairs" else quotas.used(tx, project_id, name)
            found[name] = {"limit": limit, "in_use": used, "reserved": 0}
        return found

    return {"quota_set": {"id": project_id, **_shown(call, await call.rt.db.read(read))}}


async def update_quotas(call: Call[UpdateQuotas]) -> dict[str, Any]:
    """Set limits of a project. Less than is in use only by force."""
    project_id, quotas, body = _target(call, "update"), call.rt.get(ClassQuotas), call.body
    wanted: dict[str, int] = {}
    for name in quotas.limited:
        value = getattr(body, name, None)
        if value is None:
            continue
        if name not in _shown(call, {name: 0}):
            raise BadRequest(f"Invalid input: Additional properties are not allowed ('{name}' was unexpected)")
        wanted[name] = values.number(value, name, minimum=UNLIMITED)
    force = values.flag(body.force, "force")

    def write(tx: Tx) -> dict[str, int]:
        for name, limit in wanted.items():
            used = 0 if name == "key_pairs" else quotas.used(tx, project_id, name)
            if not force and UNLIMITED != limit < used:
                raise BadRequest(f"Quota limit {limit} for {name} must be greater than or equal to already used and "
                                 f"reserved {used}.")
        quotas.set(tx, project_id, wanted)
        return quotas.limits(tx, project_id)

    return {"quota_set": _shown(call, await call.rt.db.write(write))}


async def delete_quotas(call: Call[None]) -> Reply:
    """Back to the defaults."""
    project_id = _target(call, "delete")
    await call.rt.db.write(call.rt.get(ClassQuotas).reset, project_id)
    return Reply(None)


_RULE = "os_compute_api:os-quota-sets"
_PATH = "/v2.1/os-quota-sets/{project_id}"

ROUTES = (
    Route(method="GET", path=_PATH, handler=show_quotas, policy=f"{_RULE}:show"),
    Route(method="GET", path=_PATH + "/defaults", handler=show_defaults, policy=f"{_RULE}:defaults"),
    Route(method="GET", path=_PATH + "/detail", handler=show_detail, policy=f"{_RULE}:detail"),
    Route(method="PUT", path=_PATH, handler=update_quotas, policy=f"{_RULE}:update", body=UpdateQuotas,
          envelope="quota_set"),
    Route(method="DELETE", path=_PATH, handler=delete_quotas, policy=f"{_RULE}:delete", success=202),
)
