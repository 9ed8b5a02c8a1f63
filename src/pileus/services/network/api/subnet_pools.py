"""Subnet pools."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import Route
from pileus.services.network.api import checks
from pileus.services.network.api.attributes import (
    REQUIRED,
    UNSET,
    Attribute,
    check_revision,
    create_bodies,
    enforce,
    enforce_create,
    enforce_update,
    read_only,
    resource,
    sees_all,
    target_of,
    update_body,
)
from pileus.services.network.api.listing import Shower, answer, parse, standard
from pileus.services.network.db import subnet_pools
from pileus.services.network.db.intents import subnet_pools as intents
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.listing import UnknownMarker
from pileus.services.network.db.subnet_pools import SubnetPool
from pileus.services.network.errors import SubnetPoolNotFound
from pileus.services.network.logic.subnet_pools import BITS, SMALLEST_MIN, check_lengths, compact

LENGTH = checks.optional(checks.integer(1, 128))


def _no_scope(value: Any) -> None:
    if value is not None:
        raise ValueError("there are no address scopes here")


SUBNET_POOL = resource(
    "subnetpool", "subnetpools", SubnetPoolNotFound,
    Attribute(name="name", check=checks.text(empty=False), default=REQUIRED),
    Attribute(name="description", check=checks.text(), default=""),
    Attribute(name="prefixes", check=checks.list_of(checks.cidr, unique=False), default=REQUIRED),
    Attribute(name="default_prefixlen", check=LENGTH, default=UNSET),
    Attribute(name="min_prefixlen", check=LENGTH, default=UNSET),
    Attribute(name="max_prefixlen", check=LENGTH, default=UNSET),
    Attribute(name="default_quota", check=checks.optional(checks.integer(0, (1 << 31) - 1)), default=None),
    Attribute(name="shared", check=checks.boolean, put=False, default=False),
    Attribute(name="is_default", check=checks.boolean, default=False),
    Attribute(name="address_scope_id", check=_no_scope, default=None),
    *read_only("ip_version"),
)  # fmt: skip
SORTABLE = ("id", "name", "project_id", "ip_version", "created_at", "updated_at")
SHOWN = (
    "name", "ip_version", "prefixes", "default_quota", "shared", "is_default", "default_prefixlen", "min_prefixlen",
    "max_prefixlen",
)  # fmt: skip


def view(pool: SubnetPool) -> dict[str, Any]:
    """A pool as clients see it."""
    return standard(pool) | {name: getattr(pool, name) for name in SHOWN} | {"address_scope_id": None}


def target(pool: SubnetPool) -> dict[str, Any]:
    """A pool as policy sees it."""
    return target_of(pool.project_id, shared=pool.shared)


def find(tx: Tx, call: Call[Any], pool_id: str, verb: str = "get") -> SubnetPool:
    """A pool that the caller may treat so."""
    pool = subnet_pools.get(tx, pool_id)
    if pool is None:
        raise SubnetPoolNotFound(id=pool_id)
    enforce(call, SUBNET_POOL, verb, target(pool), pool_id)
    return pool


def _columns(values: dict[str, Any], old: SubnetPool | None = None) -> dict[str, Any]:
    """Columns from attributes: prefixes joined, lengths filled in and checked."""
    columns = {k: v for k, v in values.items() if k not in ("project_id", "address_scope_id")}
    version, prefixes = compact(values["prefixes"] if old is None or "prefixes" in values else old.prefixes)
    given = {name: values.get(name) for name in ("min_prefixlen", "default_prefixlen", "max_prefixlen")}
    known = {name: value if value is not None else getattr(old, name, None) for name, value in given.items()}
    minimum = known["min_prefixlen"] or SMALLEST_MIN[version]
    default, maximum = known["default_prefixlen"] or minimum, known["max_prefixlen"] or BITS[version]
    check_lengths(version, minimum, default, maximum)
    lengths = {"min_prefixlen": minimum, "default_prefixlen": default, "max_prefixlen": maximum}
    return columns | lengths | {"ip_version": version, "prefixes": prefixes}


async def list_pools(call: Call[None]) -> dict[str, Any]:
    query = parse(call, subnet_pools.FILTERS, SORTABLE)
    scope = () if sees_all(call) else (subnet_pools.visible_to(call.context.project_id),)
    try:
        found = await call.rt.db.read(subnet_pools.page, query, *scope)
    except UnknownMarker:
        raise SubnetPoolNotFound(id=query.marker) from None
    return answer(call, SUBNET_POOL, query, Shower(call, SUBNET_POOL).show_all(found, view, target))


def _show(call: Call[Any], pool: SubnetPool) -> dict[str, Any]:
    return {"subnetpool": Shower(call, SUBNET_POOL).show(view(pool), target(pool))}


async def show_pool(call: Call[None]) -> dict[str, Any]:
    return _show(call, await call.rt.db.read(find, call, call.path["subnetpool_id"]))


async def create_pools(call: Call[None]) -> dict[str, Any]:
    bodies, several = create_bodies(call, SUBNET_POOL)
    for values in bodies:
        enforce_create(call, SUBNET_POOL, values, target_of(values["project_id"]))
    columns = [(values["project_id"], _columns(values)) for values in bodies]

    def create(tx: Tx) -> list[SubnetPool]:
        return [intents.create_pool(tx, call.rt.get(Fabric), project_id, row) for project_id, row in columns]

    shown = [_show(call, pool)["subnetpool"] for pool in await call.rt.db.write(create)]
    return {"subnetpools": shown} if several else {"subnetpool": shown[0]}


async def update_pool(call: Call[None]) -> dict[str, Any]:
    values = update_body(call, SUBNET_POOL)

    def update(tx: Tx) -> SubnetPool:
        pool = find(tx, call, call.path["subnetpool_id"])
        enforce_update(call, SUBNET_POOL, values, target(pool), pool.id)
        check_revision(call, pool.revision_number)
        return intents.update_pool(tx, pool, _columns(values, pool))

    return _show(call, await call.rt.db.write(update))


async def delete_pool(call: Call[None]) -> None:
    def remove(tx: Tx) -> None:
        pool = find(tx, call, call.path["subnetpool_id"], "delete")
        check_revision(call, pool.revision_number)
        intents.delete_pool(tx, pool)

    await call.rt.db.write(remove)


ONE = "/v2.0/subnetpools/{subnetpool_id}"
ROUTES = (
    Route(method="GET", path="/v2.0/subnetpools", handler=list_pools, policy="get_subnetpool"),
    Route(method="POST", path="/v2.0/subnetpools", handler=create_pools, policy="create_subnetpool", success=201),
    Route(method="GET", path=ONE, handler=show_pool, policy="get_subnetpool"),
    Route(method="PUT", path=ONE, handler=update_pool, policy="update_subnetpool"),
    Route(method="DELETE", path=ONE, handler=delete_pool, policy="delete_subnetpool", success=204),
)
