"""Quota classes; `default` is the one that counts: what projects have of which nothing was set."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Route
from pileus.kernel.quota import UNLIMITED
from pileus.services.compute.api import values
from pileus.services.compute.db.quota_classes import DEFAULT_CLASS, ClassQuotas
from pileus.services.compute.quotas import GROUP_LIMITS, INJECTION_LIMITS, NETWORK_LIMITS


def _shown(call: Call[Any], items: dict[str, int]) -> dict[str, int]:
    hidden: set[str] = set()
    if not call.at_least("2.50"):
        hidden |= GROUP_LIMITS
    else:
        hidden |= NETWORK_LIMITS
    if call.at_least("2.57"):
        hidden |= INJECTION_LIMITS
    return {name: value for name, value in items.items() if name not in hidden}


async def show_class(call: Call[None]) -> dict[str, Any]:
    """Its limits. Classes other than the default one have the built-in values."""
    quotas = call.rt.get(ClassQuotas)
    name = call.path["class_name"]
    limits = await call.rt.db.read(quotas.class_limits) if name == DEFAULT_CLASS else quotas.defaults
    return {"quota_class_set": {"id": name, **_shown(call, limits)}}


async def update_class(call: Call[dict[str, values.Number | None]]) -> dict[str, Any]:
    """Set limits of the default class."""
    quotas, wanted = call.rt.get(ClassQuotas), dict[str, int]()
    if call.path["class_name"] != DEFAULT_CLASS:
        raise BadRequest("Only the quota class 'default' has limits that can be set.")
    known = _shown(call, quotas.defaults)
    for name, value in call.body.items():
        if name not in known:
            raise BadRequest(f"Invalid input: Additional properties are not allowed ('{name[:80]}' was unexpected)")
        if value is not None:
            wanted[name] = values.number(value, name, minimum=UNLIMITED)

    def write(tx: Tx) -> dict[str, int]:
        quotas.set_class(tx, wanted)
        return quotas.class_limits(tx)

    return {"quota_class_set": _shown(call, await call.rt.db.write(write))}


_PATH = "/v2.1/os-quota-class-sets/{class_name}"

ROUTES = (
    Route(method="GET", path=_PATH, handler=show_class, policy="os_compute_api:os-quota-class-sets:show"),
    Route(method="PUT", path=_PATH, handler=update_class, policy="os_compute_api:os-quota-class-sets:update",
          body=dict[str, values.Number | None], envelope="quota_class_set"),
)
