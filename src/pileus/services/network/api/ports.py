"""Ports."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import Route
from pileus.services.network.api import checks
from pileus.services.network.api import networks as networks_api
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
from pileus.services.network.db import networks, ports
from pileus.services.network.db.intents import ports as intents
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.listing import UnknownMarker
from pileus.services.network.db.ports import Port
from pileus.services.network.errors import PortNotFound
from pileus.services.network.logic import dhcp_options
from pileus.services.network.logic.dns import assignment, check_name

VNIC_TYPES = ("normal", "macvtap", "direct", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic", "vdpa")


def _pair_address(value: Any) -> str:
    return checks.cidr(value) if isinstance(value, str) and "/" in value else checks.address(value)


FIXED_IPS = checks.list_of(checks.record({}, {"subnet_id": checks.identifier, "ip_address": checks.address}))
PAIRS = checks.list_of(
    checks.record({"ip_address": _pair_address}, {"mac_address": checks.optional(checks.mac), "active": checks.boolean})
)


def _pairs(value: Any) -> list[dict[str, str]]:
    found = [] if value is None else PAIRS(value)
    pairs = [{"ip_address": pair["ip_address"], "mac_address": pair.get("mac_address") or ""} for pair in found]
    if len({tuple(pair.values()) for pair in pairs}) != len(pairs):
        raise ValueError("Request contains duplicate address pair")
    return pairs


def _none_as_empty(inner: checks.Check) -> checks.Check:
    return lambda value: "" if value is None else inner(value)


PORT = resource(
    "port", "ports", PortNotFound,
    Attribute(name="network_id", check=checks.identifier, put=False, default=REQUIRED),
    Attribute(name="name", check=checks.text(), default=""),
    Attribute(name="description", check=checks.text(), default=""),
    Attribute(name="admin_state_up", check=checks.boolean, default=True),
    Attribute(name="mac_address", check=checks.mac, default=UNSET),
    Attribute(name="fixed_ips", check=FIXED_IPS, default=UNSET),
    Attribute(name="device_id", check=_none_as_empty(checks.text()), default=""),
    Attribute(name="device_owner", check=_none_as_empty(checks.text()), default=""),
    Attribute(
        name="security_groups", default=UNSET,
        check=lambda value: [] if value is None else checks.list_of(checks.identifier)(value),
    ),
    Attribute(name="port_security_enabled", check=checks.boolean, default=UNSET),
    Attribute(name="allowed_address_pairs", check=_pairs, default=[]),
    Attribute(name="extra_dhcp_opts", check=dhcp_options.check, default=[]),
    Attribute(name="dns_name", check=check_name, default=""),
    Attribute(name="binding:host_id", check=_none_as_empty(checks.text()), default=""),
    Attribute(name="binding:vnic_type", check=checks.one_of(*VNIC_TYPES), default="normal"),
    Attribute(name="binding:profile", check=checks.mapping, default={}),
    *read_only("status", "binding:vif_type", "binding:vif_details", "dns_assignment", "ip_allocation"),
)  # fmt: skip

COLUMNS = {"binding:host_id": "host", "binding:vnic_type": "vnic_type", "binding:profile": "profile"}
SORTABLE = (
    "id", "name", "project_id", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner",
    "created_at", "updated_at",
)  # fmt: skip


def view(port: Port, dns_domain: str) -> dict[str, Any]:
    """A port as clients see it."""
    pairs = [pair | {"mac_address": pair["mac_address"] or port.mac_address} for pair in port.allowed_address_pairs]
    addresses = [address.ip_address for address in port.fixed_ips]
    return standard(port) | {
        "network_id": port.network_id,
        "name": port.name,
        "admin_state_up": port.admin_state_up,
        "status": port.status,
        "mac_address": port.mac_address,
        "fixed_ips": [{"subnet_id": a.subnet_id, "ip_address": a.ip_address} for a in port.fixed_ips],
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "security_groups": list(port.security_groups),
        "port_security_enabled": port.port_security_enabled,
        "allowed_address_pairs": pairs,
        "extra_dhcp_opts": port.extra_dhcp_opts,
        "dns_name": port.dns_name,
        "dns_assignment": assignment(port.dns_name, addresses, dns_domain),
        "ip_allocation": "immediate",
        "binding:vnic_type": port.vnic_type,
        "binding:host_id": port.host,
        "binding:profile": port.profile,
        "binding:vif_type": port.vif_type,
        "binding:vif_details": port.vif_details,
    }


Owners = dict[str, tuple[str, bool, bool]]


def target(port: Port, owners: Owners, device_owner: str | None = None) -> dict[str, Any]:
    """A port as policy sees it; `device_owner` is what it shall become."""
    owner, shared, _external = owners.get(port.network_id, ("", False, False))
    return port_target(port.project_id, owner, shared, port.device_owner if device_owner is None else device_owner)


def port_target(project_id: str, network_owner: str, shared: bool, device_owner: str) -> dict[str, Any]:
    """A port that belongs to a project, on somebody's network."""
    return target_of(
        project_id, shared=shared, device_owner=device_owner,
        **{"network:project_id": network_owner, "network:tenant_id": network_owner},
    )  # fmt: skip


def find(tx: Tx, call: Call[Any], port_id: str, verb: str = "get") -> tuple[Port, dict[str, Any]]:
    """A port that the caller may treat so, and its policy target."""
    port = ports.get(tx, port_id)
    if port is None:
        raise PortNotFound(id=port_id)
    seen = target(port, networks.owners(tx, (port.network_id,)))
    enforce(call, PORT, verb, seen, port_id)
    return port, seen


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    left_out = ("project_id", "network_id")
    return {COLUMNS.get(name, name): value for name, value in values.items() if name not in left_out}


def _show(call: Call[Any], port: Port, seen: dict[str, Any]) -> dict[str, Any] | None:
    return Shower(call, PORT).show(view(port, call.rt.get(Fabric).config.dns_domain), seen)


async def list_ports(call: Call[None]) -> dict[str, Any]:
    query = parse(call, ports.FILTERS, SORTABLE)
    scope = () if sees_all(call) else (ports.visible_to(call.context.project_id),)

    def load(tx: Tx) -> tuple[list[Port], Owners]:
        found = ports.page(tx, query, *scope)
        return found, networks.owners(tx, {port.network_id for port in found})

    try:
        found, owners = await call.rt.db.read(load)
    except UnknownMarker:
        raise PortNotFound(id=query.marker) from None
    domain = call.rt.get(Fabric).config.dns_domain
    items = Shower(call, PORT).show_all(found, lambda port: view(port, domain), lambda port: target(port, owners))
    return answer(call, PORT, query, items)


async def show_port(call: Call[None]) -> dict[str, Any]:
    port, seen = await call.rt.db.read(find, call, call.path["port_id"])
    return {"port": _show(call, port, seen)}


async def create_ports(call: Call[None]) -> dict[str, Any]:
    bodies, several = create_bodies(call, PORT)
    everybody = sees_all(call)

    def create(tx: Tx) -> list[tuple[Port, dict[str, Any]]]:
        made = []
        for values in bodies:
            network = networks_api.find_bare(tx, call, values["network_id"])
            project_id = values["project_id"]
            seen = port_target(project_id, network.project_id, network.shared, values["device_owner"])
            enforce_create(call, PORT, values, seen)
            intents.check_groups(tx, values.get("security_groups", ()), project_id, all_projects=everybody)
            port = intents.create_port(tx, call.rt.get(Fabric), project_id, network, _columns(values))
            made.append((port, seen))
        return made

    shown = [_show(call, port, seen) for port, seen in await call.rt.db.write(create)]
    return {"ports": shown} if several else {"port": shown[0]}


async def update_port(call: Call[None]) -> dict[str, Any]:
    values = update_body(call, PORT)
    everybody = sees_all(call)

    def update(tx: Tx) -> tuple[Port, dict[str, Any]]:
        port, seen = find(tx, call, call.path["port_id"])
        owners = networks.owners(tx, (port.network_id,))
        enforce_update(call, PORT, values, target(port, owners, values.get("device_owner")), port.id)
        check_revision(call, port.revision_number)
        added = [group for group in values.get("security_groups", ()) if group not in port.security_groups]
        intents.check_groups(tx, added, port.project_id, all_projects=everybody)
        network = networks.get_bare(tx, port.network_id)
        assert network is not None, "a port's network is there"
        return intents.update_port(tx, call.rt.get(Fabric), port, network, _columns(values)), seen

    port, seen = await call.rt.db.write(update)
    return {"port": _show(call, port, seen)}


async def delete_port(call: Call[None]) -> None:
    def remove(tx: Tx) -> None:
        port, _ = find(tx, call, call.path["port_id"], "delete")
        check_revision(call, port.revision_number)
        intents.delete_port(tx, call.rt.get(Fabric), port)

    await call.rt.db.write(remove)


ONE = "/v2.0/ports/{port_id}"
ROUTES = (
    Route(method="GET", path="/v2.0/ports", handler=list_ports, policy="get_port"),
    Route(method="POST", path="/v2.0/ports", handler=create_ports, policy="create_port", success=201,
          max_body_bytes=1 << 20),
    Route(method="GET", path=ONE, handler=show_port, policy="get_port"),
    Route(method="PUT", path=ONE, handler=update_port, policy="update_port"),
    Route(method="DELETE", path=ONE, handler=delete_port, policy="delete_port", success=204),
)  # fmt: skip
