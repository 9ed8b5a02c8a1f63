"""What is plugged into a router: interfaces, and extra routes one by one."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import Route
from pileus.services.network.api import checks
from pileus.services.network.api import ports as ports_api
from pileus.services.network.api import routers as routers_api
from pileus.services.network.api import subnets as subnets_api
from pileus.services.network.api.attributes import json_object
from pileus.services.network.db import networks
from pileus.services.network.db.intents import routers as intents
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.networks import Network
from pileus.services.network.db.ports import Port
from pileus.services.network.db.routers import Router
from pileus.services.network.errors import BadRequest, HTTPBadRequest


def _wanted(call: Call[Any]) -> tuple[str | None, str | None]:
    """Port and subnet of the body; at least one is given, and both are ids."""
    body = json_object(call)
    unknown = set(body) - {"port_id", "subnet_id"}
    if unknown:
        raise HTTPBadRequest(reason=f"Unrecognized attribute(s) '{', '.join(map(checks.shown, sorted(unknown)))}'")
    for name, value in body.items():
        if value is None:
            continue
        try:
            checks.identifier(value)
        except ValueError as error:
            raise HTTPBadRequest(reason=f"Invalid input for {name}. Reason: {error}.") from None
    port_id, subnet_id = body.get("port_id"), body.get("subnet_id")
    if port_id is None and subnet_id is None:
        raise BadRequest(resource="router", reason="Either subnet_id or port_id must be specified")
    return port_id, subnet_id


def _view(router: Router, port: Port, subnet_id: str | None) -> dict[str, Any]:
    subnet_ids = [address.subnet_id for address in port.fixed_ips]
    return {
        "id": router.id, "tenant_id": router.project_id, "project_id": router.project_id, "port_id": port.id,
        "network_id": port.network_id, "subnet_id": subnet_id or (subnet_ids[0] if subnet_ids else None),
        "subnet_ids": [subnet_id] if subnet_id else subnet_ids, "tags": [],
    }  # fmt: skip


def _check_may_be_gateway(call: Call[Any], router: Router, network: Network) -> None:
    """Plugged in by subnet, a router takes the gateway's address: all traffic that leaves the subnet goes through it.
    So it takes the right to choose an address on that network."""
    target = ports_api.port_target(router.project_id, network.project_id, network.shared, "")
    call.enforce("create_port:fixed_ips:ip_address", **target)


async def add_interface(call: Call[None]) -> dict[str, Any]:
    port_id, subnet_id = _wanted(call)
    if port_id is not None and subnet_id is not None:
        raise BadRequest(resource="router", reason="Cannot specify both subnet-id and port-id")

    def add(tx: Tx) -> dict[str, Any]:
        router = routers_api.find(tx, call, call.path["router_id"], "add_router_interface")
        fabric = call.rt.get(Fabric)
        if subnet_id is not None:
            subnet, _ = subnets_api.find(tx, call, subnet_id)
            network = networks.get(tx, subnet.network_id)
            assert network is not None, "a subnet's network is there"
            _check_may_be_gateway(call, router, network)
            return _view(router, intents.add_subnet(tx, fabric, router, subnet, network), subnet_id)
        assert port_id is not None
        port, target = ports_api.find(tx, call, port_id)
        call.enforce("update_port", **target)
        network = networks.get(tx, port.network_id)
        assert network is not None, "a port's network is there"
        return _view(router, intents.add_port(tx, fabric, router, port, network), None)

    return await call.rt.db.write(add)


async def remove_interface(call: Call[None]) -> dict[str, Any]:
    port_id, subnet_id = _wanted(call)

    def remove(tx: Tx) -> dict[str, Any]:
        router = routers_api.find(tx, call, call.path["router_id"], "remove_router_interface")
        port = intents.remove_interface(tx, call.rt.get(Fabric), router, port_id=port_id, subnet_id=subnet_id)
        return _view(router, port, subnet_id)

    return await call.rt.db.write(remove)


def _routes(call: Call[Any]) -> list[dict[str, str]]:
    body = json_object(call).get("router")
    if not isinstance(body, dict) or set(body) != {"routes"}:
        raise HTTPBadRequest(reason="Unable to find 'router' with 'routes' in request body")
    try:
        return routers_api.ROUTES_LIST(body["routes"])
    except ValueError as error:
        raise HTTPBadRequest(reason=f"Invalid input for routes. Reason: {error}.") from None


async def add_extra_routes(call: Call[None]) -> dict[str, Any]:
    return await _change_routes(call, "add_extraroutes", lambda old, new: old + [r for r in new if r not in old])


async def remove_extra_routes(call: Call[None]) -> dict[str, Any]:
    return await _change_routes(call, "remove_extraroutes", lambda old, new: [r for r in old if r not in new])


async def _change_routes(call: Call[Any], rule: str, change: Any) -> dict[str, Any]:
    given = _routes(call)

    def update(tx: Tx) -> Router:
        router = routers_api.find(tx, call, call.path["router_id"], rule)
        return intents.set_routes(tx, call.rt.get(Fabric), router, change(router.routes, given))

    return routers_api.show(call, await call.rt.db.write(update))


def _put(name: str, handler: Any, policy: str) -> Route:
    return Route(method="PUT", path=f"/v2.0/routers/{{router_id}}/{name}", handler=handler, policy=policy)


ROUTES = (
    _put("add_router_interface", add_interface, "add_router_interface"),
    _put("remove_router_interface", remove_interface, "remove_router_interface"),
    _put("add_extraroutes", add_extra_routes, "add_extraroutes"),
    _put("remove_extraroutes", remove_extra_routes, "remove_extraroutes"),
)
