"""Tags of resources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Table

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import Route
from pileus.services.network.api import (
    checks,
    floating_ips,
    networks,
    ports,
    routers,
    security_groups,
    subnet_pools,
    subnets,
)
from pileus.services.network.api.attributes import json_object, target_of
from pileus.services.network.db import tags
from pileus.services.network.db.floating_ips import FLOATING_IPS
from pileus.services.network.db.metadata import revise
from pileus.services.network.db.networks import NETWORKS
from pileus.services.network.db.ports import PORTS
from pileus.services.network.db.routers import ROUTERS
from pileus.services.network.db.security_groups import GROUPS
from pileus.services.network.db.subnet_pools import SUBNET_POOLS
from pileus.services.network.db.subnets import SUBNETS
from pileus.services.network.errors import HTTPBadRequest, TagNotFound

MAX_TAGS = 50
TAG = checks.text(tags.TAG_CHARS, empty=False)

KINDS: dict[str, tuple[Table, str, Callable[[Tx, Call[Any], str], Any]]] = {
    "networks": (NETWORKS, "networks", networks.find),
    "subnets": (SUBNETS, "subnets", lambda tx, call, key: subnets.find(tx, call, key)[0]),
    "ports": (PORTS, "ports", lambda tx, call, key: ports.find(tx, call, key)[0]),
    "subnetpools": (SUBNET_POOLS, "subnetpools", subnet_pools.find),
    "routers": (ROUTERS, "routers", routers.find),
    "floatingips": (FLOATING_IPS, "floatingips", floating_ips.find),
    "security-groups": (GROUPS, "security_groups", security_groups.find),
}


def _find(tx: Tx, call: Call[Any], kind: str, verb: str) -> str:
    """The id of the resource of the path; whoever may see it and touch its tags goes on."""
    _, rule, find = KINDS[kind]
    found = find(tx, call, call.path["resource_id"])
    if verb != "get":
        call.enforce(f"{verb}_{rule}_tags", **target_of(found.project_id))
    return found.id


def _checked(value: Any) -> str:
    try:
        return TAG(value)
    except ValueError as error:
        raise HTTPBadRequest(reason=f"Invalid input for tags. Reason: {error}.") from None


def _change(kind: str, verb: str, change: Callable[[Call[Any], set[str]], set[str]]) -> Callable[[Call[Any]], Any]:
    """A handler that replaces a resource's tags by what `change` makes of them."""

    async def handler(call: Call[Any]) -> Any:
        def update(tx: Tx) -> list[str]:
            resource_id = _find(tx, call, kind, verb)
            new = change(call, set(tags.of(tx, (resource_id,)).get(resource_id, ())))
            if len(new) > MAX_TAGS:
                raise HTTPBadRequest(reason=f"The number of tags exceed the per-resource limit of {MAX_TAGS}")
            tags.replace(tx, resource_id, new)
            revise(tx, KINDS[kind][0], (resource_id,))
            return sorted(new)

        found = await call.rt.db.write(update)
        return {"tags": found} if call.route.success == 200 else None

    return handler


def _given(call: Call[Any], _old: set[str]) -> set[str]:
    body = json_object(call)
    if set(body) != {"tags"} or not isinstance(body["tags"], list):
        raise HTTPBadRequest(reason="Invalid tags body")
    return {_checked(tag) for tag in body["tags"]}


def _without(call: Call[Any], old: set[str]) -> set[str]:
    if call.path["tag"] not in old:
        raise TagNotFound(tag=call.path["tag"])
    return old - {call.path["tag"]}


def _list(kind: str) -> Callable[[Call[Any]], Any]:
    async def handler(call: Call[Any]) -> dict[str, Any]:
        def load(tx: Tx) -> list[str]:
            resource_id = _find(tx, call, kind, "get")
            return list(tags.of(tx, (resource_id,)).get(resource_id, ()))

        return {"tags": await call.rt.db.read(load)}

    return handler


def _show(kind: str) -> Callable[[Call[Any]], Any]:
    async def handler(call: Call[Any]) -> None:
        def load(tx: Tx) -> None:
            resource_id = _find(tx, call, kind, "get")
            if call.path["tag"] not in tags.of(tx, (resource_id,)).get(resource_id, ()):
                raise TagNotFound(tag=call.path["tag"])

        await call.rt.db.read(load)

    return handler


def _routes(kind: str) -> tuple[Route, ...]:
    every, one = f"/v2.0/{kind}/{{resource_id}}/tags", f"/v2.0/{kind}/{{resource_id}}/tags/{{tag}}"
    rule = KINDS[kind][1]
    see, change, drop = f"get_{rule}_tags", f"update_{rule}_tags", f"delete_{rule}_tags"
    set_all = _change(kind, "update", _given)
    add_all = _change(kind, "update", lambda call, old: old | _given(call, old))
    add = _change(kind, "update", lambda call, old: old | {_checked(call.path["tag"])})
    remove, remove_all = _change(kind, "delete", _without), _change(kind, "delete", lambda call, old: set())
    return (
        Route(method="GET", path=every, handler=_list(kind), policy=see),
        Route(method="PUT", path=every, handler=set_all, policy=change),
        Route(method="POST", path=every, handler=add_all, policy=change, success=201),
        Route(method="DELETE", path=every, handler=remove_all, policy=drop, success=204),
        Route(method="GET", path=one, handler=_show(kind), policy=see, success=204),
        Route(method="PUT", path=one, handler=add, policy=change, success=201),
        Route(method="DELETE", path=one, handler=remove, policy=drop, success=204),
    )


ROUTES = tuple(route for kind in KINDS for route in _routes(kind))
