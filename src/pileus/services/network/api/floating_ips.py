"""Floating IPs."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import Route
from pileus.services.network.api import checks
from pileus.services.network.api import networks as networks_api
from pileus.services.network.api import ports as ports_api
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
from pileus.services.network.db import floating_ips, ports
from pileus.services.network.db.floating_ips import FloatingIp
from pileus.services.network.db.intents import floating_ips as intents
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.listing import UnknownMarker
from pileus.services.network.db.metadata import revise
from pileus.services.network.db.ports import PORTS, Port
from pileus.services.network.errors import BadRequest, FloatingIPNotFound, HTTPBadRequest
from pileus.services.network.logic.dns import check_name

FLOATING_IP = resource(
    "floatingip", "floatingips", FloatingIPNotFound,
    Attribute(name="floating_network_id", check=checks.identifier, put=False, default=REQUIRED),
    Attribute(name="description", check=checks.text(), default=""),
    Attribute(name="floating_ip_address", check=checks.optional(checks.address), put=False, default=None),
    Attribute(name="subnet_id", check=checks.optional(checks.identifier), put=False, default=None),
    Attribute(name="port_id", check=checks.optional(checks.identifier), default=UNSET),
    Attribute(name="fixed_ip_address", check=checks.optional(checks.address), default=UNSET),
    Attribute(name="dns_name", check=check_name, put=False, default=""),
    Attribute(name="dns_domain", check=check_name, put=False, default=""),
    *read_only("status", "router_id", "port_details"),
)  # fmt: skip
SORTABLE = (
    "id", "project_id", "floating_network_id", "floating_ip_address", "port_id", "fixed_ip_address", "router_id",
    "status", "created_at", "updated_at",
)  # fmt: skip


def view(floating_ip: FloatingIp, port: Port | None) -> dict[str, Any]:
    """A floating IP as clients see it; `port` is where it leads."""
    details = None
    if port is not None:
        details = {
            "name": port.name, "network_id": port.network_id, "mac_address": port.mac_address,
            "admin_state_up": port.admin_state_up, "status": port.status, "device_id": port.device_id,
            "device_owner": port.device_owner,
        }  # fmt: skip
    return standard(floating_ip) | {
        "floating_network_id": floating_ip.floating_network_id,
        "floating_ip_address": floating_ip.floating_ip_address,
        "port_id": floating_ip.port_id,
        "fixed_ip_address": floating_ip.fixed_ip_address,
        "router_id": floating_ip.router_id,
        "status": floating_ip.status,
        "port_details": details,
        "dns_name": floating_ip.dns_name,
        "dns_domain": floating_ip.dns_domain,
    }


def find(tx: Tx, call: Call[Any], floating_ip_id: str, verb: str = "get") -> FloatingIp:
    """A floating IP that the caller may treat so."""
    found = floating_ips.get(tx, floating_ip_id)
    if found is None:
        raise FloatingIPNotFound(id=floating_ip_id)
    enforce(call, FLOATING_IP, verb, target_of(found.project_id), floating_ip_id)
    return found


def _led(tx: Tx, found: list[FloatingIp]) -> dict[str, Port]:
    ids = [item.port_id for item in found if item.port_id]
    return {port.id: port for port in ports.load(tx, PORTS.c.id.in_(ids))} if ids else {}


def _show(call: Call[Any], found: FloatingIp, led: dict[str, Port]) -> dict[str, Any] | None:
    body = view(found, led.get(found.port_id or ""))
    return Shower(call, FLOATING_IP).show(body, target_of(found.project_id))


async def list_floating_ips(call: Call[None]) -> dict[str, Any]:
    query = parse(call, floating_ips.FILTERS, SORTABLE)
    scope = () if sees_all(call) else (floating_ips.visible_to(call.context.project_id),)

    def load(tx: Tx) -> tuple[list[FloatingIp], dict[str, Port]]:
        found = floating_ips.page(tx, query, *scope)
        return found, _led(tx, found)

    try:
        found, led = await call.rt.db.read(load)
    except UnknownMarker:
        raise FloatingIPNotFound(id=query.marker) from None
    items = Shower(call, FLOATING_IP).show_all(
        found, lambda f: view(f, led.get(f.port_id or "")), lambda f: target_of(f.project_id)
    )
    return answer(call, FLOATING_IP, query, items)


async def show_floating_ip(call: Call[None]) -> dict[str, Any]:
    def load(tx: Tx) -> tuple[FloatingIp, dict[str, Port]]:
        found = find(tx, call, call.path["floatingip_id"])
        return found, _led(tx, [found])

    found, led = await call.rt.db.read(load)
    return {"floatingip": _show(call, found, led)}


def _port_to_lead_to(tx: Tx, call: Call[Any], port_id: str, project_id: str) -> Port:
    port, _ = ports_api.find(tx, call, port_id)
    if port.project_id != project_id and not sees_all(call):
        reason = f"Port {port_id} is associated with a different tenant than Floating IP and therefore cannot be bound."
        raise BadRequest(resource="floatingip", reason=reason)
    return port


async def create_floating_ips(call: Call[None]) -> dict[str, Any]:
    bodies, several = create_bodies(call, FLOATING_IP)
    for values in bodies:
        enforce_create(call, FLOATING_IP, values, target_of(values["project_id"]))
        if values.get("fixed_ip_address") is not None and values.get("port_id") is None:
            raise BadRequest(resource="floatingip", reason="fixed_ip_address cannot be specified without a port_id")

    def create(tx: Tx) -> tuple[list[FloatingIp], dict[str, Port]]:
        made = []
        for values in bodies:
            network = networks_api.find_bare(tx, call, values["floating_network_id"])
            project_id, port = values["project_id"], None
            if values.get("port_id") is not None:
                port = _port_to_lead_to(tx, call, values["port_id"], project_id)
            made.append(intents.create_floating_ip(tx, call.rt.get(Fabric), project_id, network, values, port))
        return made, _led(tx, made)

    made, led = await call.rt.db.write(create)
    shown = [_show(call, item, led) for item in made]
    return {"floatingips": shown} if several else {"floatingip": shown[0]}


async def update_floating_ip(call: Call[None]) -> dict[str, Any]:
    values = update_body(call, FLOATING_IP)

    def update(tx: Tx) -> tuple[FloatingIp, dict[str, Port]]:
        found = find(tx, call, call.path["floatingip_id"])
        enforce_update(call, FLOATING_IP, values, target_of(found.project_id), found.id)
        check_revision(call, found.revision_number)
        if "description" in values:
            revise(tx, floating_ips.FLOATING_IPS, (found.id,), {"description": values["description"]})
        found = _lead(tx, call, found, values)
        return found, _led(tx, [found])

    found, led = await call.rt.db.write(update)
    return {"floatingip": _show(call, found, led)}


def _lead(tx: Tx, call: Call[Any], found: FloatingIp, values: dict[str, Any]) -> FloatingIp:
    """Lead a floating IP where an update says: to a port, to another address of its port, or (port None) nowhere."""
    fabric = call.rt.get(Fabric)
    if "port_id" not in values and "fixed_ip_address" not in values:
        return find(tx, call, found.id)
    port_id = values.get("port_id", found.port_id)
    if port_id is None:
        if values.get("fixed_ip_address") is not None:
            raise HTTPBadRequest(reason="fixed_ip_address cannot be specified without a port_id")
        return intents.disassociate(tx, fabric, found)
    port = _port_to_lead_to(tx, call, port_id, found.project_id)
    return intents.associate(tx, fabric, found, port, values.get("fixed_ip_address"))


async def delete_floating_ip(call: Call[None]) -> None:
    def remove(tx: Tx) -> None:
        found = find(tx, call, call.path["floatingip_id"], "delete")
        check_revision(call, found.revision_number)
        intents.delete_floating_ip(tx, call.rt.get(Fabric), found)

    await call.rt.db.write(remove)


ONE = "/v2.0/floatingips/{floatingip_id}"
ROUTES = (
    Route(method="GET", path="/v2.0/floatingips", handler=list_floating_ips, policy="get_floatingip"),
    Route(
        method="POST", path="/v2.0/floatingips", handler=create_floating_ips, policy="create_floatingip", success=201
    ),
    Route(method="GET", path=ONE, handler=show_floating_ip, policy="get_floatingip"),
    Route(method="PUT", path=ONE, handler=update_floating_ip, policy="update_floatingip"),
    Route(method="DELETE", path=ONE, handler=delete_floating_ip, policy="delete_floatingip", success=204),
)
