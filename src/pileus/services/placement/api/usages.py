"""Usages: what is given out, by provider and by project."""

from __future__ import annotations

import re
from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.placement.api import queries
from pileus.services.placement.api.freshness import fresh
from pileus.services.placement.db import allocations, inventories, providers
from pileus.services.placement.db.allocations import TypeUsage
from pileus.services.placement.errors import InvalidInput

MAX_ID_LENGTH = 255
ALL_TYPES = "all"
_TYPE = re.compile(r"[A-Z0-9_]{1,255}|all|unknown")


def _of_provider(tx: Tx, uuid: str) -> tuple[int, dict[str, int]]:
    provider = providers.need(tx, uuid)
    used = allocations.usage_of(tx, [provider.id])
    found = {name: used.get((provider.id, name), 0) for name in inventories.of_provider(tx, provider.id)}
    return provider.generation, found


async def show_provider_usages(call: Call[Any]) -> Reply:
    """What a provider gives out of each class that it has."""
    generation, found = await call.rt.db.read(_of_provider, call.path["uuid"])
    return fresh(call, {"resource_provider_generation": generation, "usages": found})


async def show_usages(call: Call[Any]) -> Reply:
    """What a project, or one user in it, has."""
    given = queries.known(call, {"project_id": "1.9", "user_id": "1.9", "consumer_type": "1.38"})
    project, user, kind = (queries.single(given, name) for name in ("project_id", "user_id", "consumer_type"))
    if project is None:
        raise InvalidInput("Invalid query string parameters: 'project_id' is a required property")
    for value in (project, user):
        if value is not None and not 1 <= len(value) <= MAX_ID_LENGTH:
            raise InvalidInput("Invalid query string parameters: an id has 1 to 255 characters")
    if kind is not None and not _TYPE.fullmatch(kind):
        raise InvalidInput("Invalid query string parameters: consumer_type is an upper case name, 'all' or 'unknown'")
    call.enforce("placement:usages", project_id=project)
    only = None if kind == ALL_TYPES else kind
    found = await call.rt.db.read(allocations.usage_by_type, project, user_id=user, consumer_type=only)
    if not call.at_least("1.38"):
        return fresh(call, {"usages": _together(found)})
    if kind == ALL_TYPES:
        count = sum(item.consumers for item in found)
        return fresh(call, {"usages": {ALL_TYPES: {**_together(found), "consumer_count": count}} if count else {}})
    shown = {item.consumer_type: {**item.resources, "consumer_count": item.consumers} for item in found}
    return fresh(call, {"usages": shown})


def _together(found: list[TypeUsage]) -> dict[str, int]:
    total: dict[str, int] = {}
    for item in found:
        for name, amount in item.resources.items():
            total[name] = total.get(name, 0) + amount
    return total


ROUTES = (
    Route(
        method="GET", path="/resource_providers/{uuid}/usages", handler=show_provider_usages,
        policy="placement:resource_providers:usages",
    ),
    Route(method="GET", path="/usages", handler=show_usages, policy="placement:usages", since="1.9"),
)
