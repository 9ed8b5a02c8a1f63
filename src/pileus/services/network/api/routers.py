"""Routers."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import Route
from pileus.services.network.api import checks
from pileus.services.network.api import networks as networks_api
from pileus.services.network.api.attributes import (
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
from pileus.services.network.api.availability import check_hints
from pileus.services.network.api.listing import Shower, answer, parse, standard
from pileus.services.network.db import routers
from pileus.services.network.db.intents import routers as intents
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.listing import UnknownMarker
from pileus.services.network.db.routers import Router
from pileus.services.network.errors import RouterNotFound

ADDRESS = checks.record({}, {"subnet_id": checks.identifier, "ip_address": checks.address})
GATEWAY = checks.record(
    {"network_id": checks.identifier},
    {"enable_snat": checks.boolean, "external_fixed_ips": checks.list_of(ADDRESS)},
)
ROUTE = checks.record({"destination": checks.cidr, "nexthop": checks.address})
ROUTES_LIST = checks.list_of(ROUTE)


def _gateway(value: Any) -> dict[str, Any] | None:
    return None if value is None or value == {} else GATEWAY(value)


ROUTER = resource(
    "router", "routers", RouterNotFound,
    Attribute(name="name", check=checks.text(), default=""),
    Attribute(name="description", check=checks.text(), default=""),
    Attribute(name="admin_state_up", check=checks.boolean, default=True),
    Attribute(name="external_gateway_info", check=_gateway, default=None),
    Attribute(name="availability_zone_hints", check=checks.list_of(checks.text()), default=[], put=False),
    Attribute(name="routes", check=lambda v: [] if v is None else ROUTES_LIST(v), post=False),
    *read_only("status", "availability_zones"),
)  # fmt: skip

SORTABLE = ("id", "name", "project_id", "admin_state_up", "status", "created_at", "updated_at")


def view(router: Router, zone: str) -> dict[str, Any]:
    """A router as clients see it."""
    gateway = None
    if router.gateway_network_id is not None:
        addresses = [{"subnet_id": a.subnet_id, "ip_address": a.ip_address} for a in router.gateway_ips]
        gateway = {
            "network_id": router.gateway_network_id, "enable_snat": router.enable_snat,
            "external_fixed_ips": addresses,
        }  # fmt: skip
    return standard(router) | {
        "name": router.name,
        "admin_state_up": router.admin_state_up,
        "status": router.status,
        "external_gateway_info": gateway,
        "routes": router.routes,
        "availability_zone_hints": router.availability_zone_hints,
        "availability_zones": [zone] if router.host else [],
    }


def find(tx: Tx, call: Call[Any], router_id: str, verb: str = "get") -> Router:
    """A router that the caller may see; for other verbs than `get`, the right to do them is enforced too."""
    router = routers.get(tx, router_id)
    if router is None:
        raise RouterNotFound(id=router_id)
    enforce(call, ROUTER, "get", target_of(router.project_id), router_id)
    if verb != "get":
        call.enforce(verb, **target_of(router.project_id))
    return router


def show(call: Call[Any], router: Router) -> dict[str, Any]:
    """The body of an answer with one router."""
    body = view(router, call.rt.get(Fabric).config.availability_zone)
    return {"router": Shower(call, ROUTER).show(body, target_of(router.project_id))}


async def list_routers(call: Call[None]) -> dict[str, Any]:
    query = parse(call, routers.FILTERS, SORTABLE)
    scope = () if sees_all(call) else (routers.visible_to(call.context.project_id),)
    try:
        found = await call.rt.db.read(routers.page, query, *scope)
    except UnknownMarker:
        raise RouterNotFound(id=query.marker) from None
    zone = call.rt.get(Fabric).config.availability_zone
    items = Shower(call, ROUTER).show_all(found, lambda r: view(r, zone), lambda r: target_of(r.project_id))
    return answer(call, ROUTER, query, items)


async def show_router(call: Call[None]) -> dict[str, Any]:
    return show(call, await call.rt.db.read(find, call, call.path["router_id"]))


def _columns(tx: Tx, call: Call[Any], values: dict[str, Any]) -> dict[str, Any]:
    """Attributes as intents take them: the gateway's network looked up, with the caller's eyes."""
    columns = {k: v for k, v in values.items() if k not in ("project_id", "external_gateway_info")}
    if "external_gateway_info" in values:
        info = values["external_gateway_info"]
        columns["gateway"] = None if info is None else {
            "network": networks_api.find_bare(tx, call, info["network_id"]),
            "enable_snat": info.get("enable_snat"), "fixed_ips": info.get("external_fixed_ips"),
        }  # fmt: skip
    return columns


async def create_routers(call: Call[None]) -> dict[str, Any]:
    bodies, several = create_bodies(call, ROUTER)
    for values in bodies:
        enforce_create(call, ROUTER, values, target_of(values["project_id"]))
        check_hints(call, values)

    def create(tx: Tx) -> list[Router]:
        fabric = call.rt.get(Fabric)
        return [
            intents.create_router(tx, fabric, v["project_id"], _columns(tx, call, v) | {"enable_snat": True})
            for v in bodies
        ]

    shown = [show(call, router)["router"] for router in await call.rt.db.write(create)]
    return {"routers": shown} if several else {"router": shown[0]}


async def update_router(call: Call[None]) -> dict[str, Any]:
    values = update_body(call, ROUTER)

    def update(tx: Tx) -> Router:
        router = find(tx, call, call.path["router_id"])
        enforce_update(call, ROUTER, values, target_of(router.project_id), router.id)
        check_revision(call, router.revision_number)
        return intents.update_router(tx, call.rt.get(Fabric), router, _columns(tx, call, values))

    return show(call, await call.rt.db.write(update))


async def delete_router(call: Call[None]) -> None:
    def remove(tx: Tx) -> None:
        router = find(tx, call, call.path["router_id"], "delete_router")
        check_revision(call, router.revision_number)
        intents.delete_router(tx, call.rt.get(Fabric), router)

    await call.rt.db.write(remove)


ONE = "/v2.0/routers/{router_id}"
ROUTES = (
    Route(method="GET", path="/v2.0/routers", handler=list_routers, policy="get_router"),
    Route(method="POST", path="/v2.0/routers", handler=create_routers, policy="create_router", success=201),
    Route(method="GET", path=ONE, handler=show_router, policy="get_router"),
    Route(method="PUT", path=ONE, handler=update_router, policy="update_router"),
    Route(method="DELETE", path=ONE, handler=delete_router, policy="delete_router", success=204),
)
