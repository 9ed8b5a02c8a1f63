"""Extra specs of flavors: what the scheduler and the drivers read beyond the sizes."""

from __future__ import annotations

import re
from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Reply, Route
from pileus.services.compute.api.flavors import reachable, seen_as
from pileus.services.compute.db import flavors
from pileus.services.compute.errors import ExtraSpecNotFound
from pileus.services.compute.logic import extra_specs

MAX_SPECS = 128
_KEY = re.compile(r"^[a-zA-Z0-9\-_:. ]{1,255}$")

SpecValue = str | int | float


def _checked(call: Call[Any], items: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in items.items():
        if not _KEY.match(key):
            raise BadRequest(f"Invalid input for field/attribute extra_specs. The key '{key[:80]}' is not allowed.")
        text = str(value)
        if isinstance(value, bool) or len(text) > 255:
            raise BadRequest(f"Invalid input for field/attribute {key}. Value: {text[:80]}.")
        if call.at_least("2.86"):
            extra_specs.check(key, text)
        found[key] = text
    return found


async def list_specs(call: Call[None]) -> dict[str, Any]:
    """All of a flavor."""
    flavor = await call.rt.db.read(reachable, call.path["flavor_id"], seen_as(call))
    return {"extra_specs": flavor.extra_specs}


async def show_spec(call: Call[None]) -> dict[str, Any]:
    """One of them."""
    flavor, key = await call.rt.db.read(reachable, call.path["flavor_id"], seen_as(call)), call.path["key"]
    if key not in flavor.extra_specs:
        raise ExtraSpecNotFound(flavor_id=flavor.id, key=key)
    return {key: flavor.extra_specs[key]}


async def create_specs(call: Call[dict[str, SpecValue]]) -> dict[str, Any]:
    """Add some, over those of the same keys."""
    items = _checked(call, call.body)
    await call.rt.db.write(_merge, call.path["flavor_id"], items)
    return {"extra_specs": items}


async def update_spec(call: Call[dict[str, SpecValue]]) -> dict[str, Any]:
    """Set one; the body names it again."""
    items, key = _checked(call, call.body), call.path["key"]
    if set(items) != {key}:
        raise BadRequest("Request body and URI mismatch")
    await call.rt.db.write(_merge, call.path["flavor_id"], items)
    return dict(items)


async def delete_spec(call: Call[None]) -> Reply:
    """Remove one."""
    flavor_id, key = call.path["flavor_id"], call.path["key"]

    def write(tx: Tx) -> None:
        kept = dict(reachable(tx, flavor_id, None).extra_specs)
        if kept.pop(key, None) is None:
            raise ExtraSpecNotFound(flavor_id=flavor_id, key=key)
        flavors.change(tx, flavor_id, extra_specs=kept)

    await call.rt.db.write(write)
    return Reply(None)


def _merge(tx: Tx, flavor_id: str, items: dict[str, str]) -> None:
    merged = reachable(tx, flavor_id, None).extra_specs | items
    if len(merged) > MAX_SPECS:
        raise BadRequest(f"A flavor has at most {MAX_SPECS} extra specs.")
    flavors.change(tx, flavor_id, extra_specs=merged)


_RULE = "os_compute_api:os-flavor-extra-specs"
_PATH = "/v2.1/flavors/{flavor_id}/os-extra_specs"

ROUTES = (
    Route(method="GET", path=_PATH, handler=list_specs, policy=f"{_RULE}:index"),
    Route(method="POST", path=_PATH, handler=create_specs, policy=f"{_RULE}:create", body=dict[str, SpecValue],
          envelope="extra_specs"),
    Route(method="GET", path=_PATH + "/{key}", handler=show_spec, policy=f"{_RULE}:show"),
    Route(method="PUT", path=_PATH + "/{key}", handler=update_spec, policy=f"{_RULE}:update",
          body=dict[str, SpecValue]),
    Route(method="DELETE", path=_PATH + "/{key}", handler=delete_spec, policy=f"{_RULE}:delete"),
)
