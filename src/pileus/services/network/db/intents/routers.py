"""Routers: gateway, interfaces, routes, placement."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.network import states
from pileus.services.network.db import agents, networks, ports, routers, subnets
from pileus.services.network.db.floating_ips import FLOATING_IPS
from pileus.services.network.db.intents import binding
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.intents.ports import create_port, delete_port
from pileus.services.network.db.metadata import revise, stamped
from pileus.services.network.db.networks import Network
from pileus.services.network.db.ports import PORTS, Port
from pileus.services.network.db.routers import GATEWAY, INTERFACE, ROUTERS, Plug, Router
from pileus.services.network.db.subnets import Subnet
from pileus.services.network.errors import (
    BadRequest,
    InvalidRoutes,
    PortInUse,
    RouterExternalGatewayInUseByFloatingIp,
    RouterInterfaceInUseByFloatingIP,
    RouterInterfaceInUseByRoute,
    RouterInterfaceNotFound,
    RouterInterfaceNotFoundForSubnet,
    RouterInUse,
    RoutesExhausted,
    SubnetMismatchForPort,
)
from pileus.services.network.logic.placement import choose_host
from pileus.services.network.quotas import claim


def create_router(tx: Tx, fabric: Fabric, project_id: str, values: dict[str, Any]) -> Router:
    """Make a router. `values`: columns of `ROUTERS`, and `gateway` (see `set_gateway`)."""
    claim(tx, fabric.limits, project_id, "router")
    gateway = values.pop("gateway", None)
    row = stamped(tx, {**values, "project_id": project_id, "status": states.ACTIVE, "host": "", "routes": []})
    tx.execute(ROUTERS.insert(), row)
    if gateway is not None:
        set_gateway(tx, fabric, _router(tx, row["id"]), gateway)
    return _router(tx, row["id"])


def _router(tx: Tx, router_id: str) -> Router:
    router = routers.get(tx, router_id)
    assert router is not None, "a router of this transaction"
    return router


def update_router(tx: Tx, fabric: Fabric, router: Router, values: dict[str, Any]) -> Router:
    """Change a router; `gateway` None takes the gateway away."""
    plain = {key: value for key, value in values.items() if key not in ("gateway", "routes")}
    revise(tx, ROUTERS, (router.id,), plain)
    if "gateway" in values:
        set_gateway(tx, fabric, router, values["gateway"])
    if "routes" in values:
        set_routes(tx, fabric, _router(tx, router.id), values["routes"])
    fresh = _router(tx, router.id)
    fabric.changed(tx, "l3", [fresh.host])
    return fresh


def delete_router(tx: Tx, fabric: Fabric, router: Router) -> None:
    """Remove a router without interfaces; its gateway port goes with it."""
    if routers.plugs(tx, (router.id,), INTERFACE):
        raise RouterInUse(id=router.id)
    set_gateway(tx, fabric, router, None)
    fabric.changed(tx, "l3", [router.host])
    routers.remove(tx, router.id)


# --- gateway ----------------------------------------------------------------------------------------------------


def set_gateway(tx: Tx, fabric: Fabric, router: Router, gateway: dict[str, Any] | None) -> None:
    """Connect a router to an external network, or (None) to none.

    gateway: `network` (a `Network`), `enable_snat` and `fixed_ips`, the latter two None for "as it is" or "any".
    """
    old = next(iter(routers.plugs(tx, (router.id,), GATEWAY)), None)
    network: Network | None = gateway["network"] if gateway else None
    wanted_ips = gateway.get("fixed_ips") if gateway else None
    snat = gateway.get("enable_snat") if gateway else True
    revise(tx, ROUTERS, (router.id,), {"enable_snat": router.enable_snat if snat is None else snat})
    keep = old is not None and network is not None and old.port.network_id == network.id
    if old is not None and (not keep or (wanted_ips is not None and not _has_ips(old.port, wanted_ips))):
        _drop_gateway(tx, fabric, router, old, moving=keep)
        keep = False
    if network is not None and not keep:
        _add_gateway(tx, fabric, router, network, wanted_ips)
    fabric.changed(tx, "l3", [router.host])


def _has_ips(port: Port, wanted: Sequence[dict[str, Any]]) -> bool:
    have = {(a.subnet_id, a.ip_address) for a in port.fixed_ips}
    return len(have) == len(wanted) and all(
        any(w.get("subnet_id") in (None, s) and w.get("ip_address") in (None, ip) for s, ip in have) for w in wanted
    )


def _drop_gateway(tx: Tx, fabric: Fabric, router: Router, old: Plug, *, moving: bool) -> None:
    used = select(FLOATING_IPS.c.id).where(
        FLOATING_IPS.c.router_id == router.id, FLOATING_IPS.c.floating_network_id == old.port.network_id
    )
    if not moving and tx.scalar(used.limit(1)) is not None:
        raise RouterExternalGatewayInUseByFloatingIp(router_id=router.id, network_id=old.port.network_id)
    routers.unplug(tx, old.port.id)
    delete_port(tx, fabric, old.port, by_user=False)


def _add_gateway(
    tx: Tx, fabric: Fabric, router: Router, network: Network, wanted_ips: Sequence[dict[str, Any]] | None
) -> None:
    if not network.external:
        raise BadRequest(resource="router", reason=f"Network {network.id} is not an external network")
    inside = routers.plugs(tx, (router.id,), INTERFACE)
    outside = subnets.of_networks(tx, (network.id,))
    for subnet in outside:
        _check_overlap(tx, router, inside, subnet)
    host = place(tx, fabric, router)
    values = {
        "device_owner": states.OWNER_ROUTER_GATEWAY, "device_id": router.id, "host": host, "trusted": True,
        "fixed_ips": wanted_ips,
    }  # fmt: skip
    port = create_port(tx, fabric, "", network, values)
    routers.plug(tx, router.id, port.id, GATEWAY)


# --- interfaces -------------------------------------------------------------------------------------------------


def add_subnet(tx: Tx, fabric: Fabric, router: Router, subnet: Subnet, network: Network) -> Port:
    """Plug a router into a subnet, with the subnet's gateway address."""
    if subnet.gateway_ip is None:
        raise BadRequest(resource="router", reason="Subnet for router interface must have a gateway IP")
    _check_new_subnet(tx, router, subnet)
    values = {
        "device_owner": states.OWNER_ROUTER_INTERFACE, "device_id": router.id, "trusted": True,
        "host": place(tx, fabric, router),
        "fixed_ips": [{"subnet_id": subnet.id, "ip_address": subnet.gateway_ip}],
    }  # fmt: skip
    port = create_port(tx, fabric, router.project_id, network, values)
    routers.plug(tx, router.id, port.id, INTERFACE)
    _interfaces_changed(tx, fabric, router)
    return port


def add_port(tx: Tx, fabric: Fabric, router: Router, port: Port, network: Network) -> Port:
    """Plug an existing port into a router; from now on it is the router's."""
    if port.device_id or port.host:
        raise PortInUse(id=port.id, network_id=port.network_id, device=port.device_id or port.host)
    if not port.fixed_ips:
        raise BadRequest(resource="router", reason="Router port must have at least one fixed IP")
    for subnet in subnets.by_ids(tx, [a.subnet_id for a in port.fixed_ips]).values():
        _check_new_subnet(tx, router, subnet)
    host = place(tx, fabric, router)
    changes: dict[str, Any] = {
        "device_owner": states.OWNER_ROUTER_INTERFACE, "device_id": router.id, "trusted": True,
        "port_security_enabled": False, "allowed_address_pairs": [],
    }  # fmt: skip
    changes |= binding.bind(tx, fabric, network, host, port.vnic_type, up=port.admin_state_up, port_id=port.id)
    revise(tx, PORTS, (port.id,), changes)
    ports.set_groups(tx, port.id, ())
    routers.plug(tx, router.id, port.id, INTERFACE)
    binding.refresh_status(tx, fabric, (port.id,))
    _interfaces_changed(tx, fabric, router)
    fresh = ports.get(tx, port.id)
    assert fresh is not None
    return fresh


def _interfaces_changed(tx: Tx, fabric: Fabric, router: Router) -> None:
    revise(tx, ROUTERS, (router.id,))
    host = tx.scalar(select(ROUTERS.c.host).where(ROUTERS.c.id == router.id))
    fabric.changed(tx, "l3", [host])


def _check_new_subnet(tx: Tx, router: Router, subnet: Subnet) -> None:
    plugs = routers.plugs(tx, (router.id,))
    for plug in plugs:
        if plug.kind == INTERFACE and any(a.subnet_id == subnet.id for a in plug.port.fixed_ips):
            raise BadRequest(resource="router", reason=f"Router already has a port on subnet {subnet.id}")
    _check_overlap(tx, router, plugs, subnet)


def _check_overlap(tx: Tx, router: Router, plugs: Iterable[Plug], subnet: Subnet) -> None:
    mine = ipaddress.ip_network(subnet.cidr)
    known = subnets.by_ids(tx, {a.subnet_id for plug in plugs for a in plug.port.fixed_ips})
    for other in known.values():
        theirs = ipaddress.ip_network(other.cidr)
        if mine.version == theirs.version and mine.overlaps(theirs):
            reason = f"Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {other.cidr} of subnet {other.id}"
            raise BadRequest(resource="router", reason=reason)


def remove_interface(
    tx: Tx, fabric: Fabric, router: Router, *, port_id: str | None, subnet_id: str | None
) -> Port:
    """Unplug by port, by subnet, or by both (which must fit); the port is deleted."""
    found = routers.plugs(tx, (router.id,), INTERFACE)
    if port_id is not None:
        plug = next((p for p in found if p.port.id == port_id), None)
        if plug is None:
            raise RouterInterfaceNotFound(router_id=router.id, port_id=port_id)
        if subnet_id is not None and all(a.subnet_id != subnet_id for a in plug.port.fixed_ips):
            raise SubnetMismatchForPort(port_id=port_id, subnet_id=subnet_id)
    else:
        plug = next((p for p in found if any(a.subnet_id == subnet_id for a in p.port.fixed_ips)), None)
        if plug is None:
            raise RouterInterfaceNotFoundForSubnet(router_id=router.id, subnet_id=subnet_id)
    _check_unused(tx, router, plug.port)
    routers.unplug(tx, plug.port.id)
    delete_port(tx, fabric, plug.port, by_user=False)
    _interfaces_changed(tx, fabric, router)
    return plug.port


def _check_unused(tx: Tx, router: Router, port: Port) -> None:
    led = tx.all(select(FLOATING_IPS.c.fixed_ip_address).where(FLOATING_IPS.c.router_id == router.id))
    for subnet in subnets.by_ids(tx, [a.subnet_id for a in port.fixed_ips]).values():
        cidr = ipaddress.ip_network(subnet.cidr)
        if any(ipaddress.ip_address(row.fixed_ip_address) in cidr for row in led if row.fixed_ip_address):
            raise RouterInterfaceInUseByFloatingIP(subnet_id=subnet.id, router_id=router.id)
        if any(ipaddress.ip_address(route["nexthop"]) in cidr for route in router.routes):
            raise RouterInterfaceInUseByRoute(subnet_id=subnet.id, router_id=router.id)


# --- routes -----------------------------------------------------------------------------------------------------


def set_routes(tx: Tx, fabric: Fabric, router: Router, routes: list[dict[str, str]]) -> Router:
    """Replace the extra routes; every next hop must be a neighbour of the router."""
    if len(routes) > fabric.config.max_routes:
        raise RoutesExhausted(router_id=router.id, limit=fabric.config.max_routes)
    plugs = routers.plugs(tx, (router.id,))
    own = {a.ip_address for plug in plugs for a in plug.port.fixed_ips}
    known = subnets.by_ids(tx, {a.subnet_id for plug in plugs for a in plug.port.fixed_ips})
    cidrs = [ipaddress.ip_network(subnet.cidr) for subnet in known.values()]
    for route in routes:
        hop = ipaddress.ip_address(route["nexthop"])
        if not any(hop in cidr for cidr in cidrs):
            raise InvalidRoutes(routes=routes, reason="the nexthop is not connected with router")
        if route["nexthop"] in own:
            raise InvalidRoutes(routes=routes, reason="the nexthop is used by router")
    revise(tx, ROUTERS, (router.id,), {"routes": routes})
    fabric.changed(tx, "l3", [router.host])
    return _router(tx, router.id)


# --- placement --------------------------------------------------------------------------------------------------


def place(tx: Tx, fabric: Fabric, router: Router) -> str:
    """The host of a router, chosen now if it has none; "" while no agent lives."""
    host = tx.scalar(select(ROUTERS.c.host).where(ROUTERS.c.id == router.id))
    if host:
        return host
    chosen = choose_host(fabric.alive_hosts(tx, "l3"), agents.load_of_hosts(tx, "l3"))
    if chosen is None:
        return ""
    move(tx, fabric, router.id, chosen)
    return chosen


def move(tx: Tx, fabric: Fabric, router_id: str, host: str) -> None:
    """Put a router with all its ports on a host."""
    old = tx.scalar(select(ROUTERS.c.host).where(ROUTERS.c.id == router_id))
    tx.execute(ROUTERS.update().where(ROUTERS.c.id == router_id).values(host=host))
    plugs = routers.plugs(tx, (router_id,))
    known = networks.by_ids(tx, {plug.port.network_id for plug in plugs})
    for plug in plugs:
        port = plug.port
        changes = binding.bind(
            tx, fabric, known[port.network_id], host, port.vnic_type, up=port.admin_state_up, port_id=port.id
        )
        revise(tx, PORTS, (port.id,), changes)
        binding.tell_network(tx, fabric, port.network_id, port.host)
    binding.refresh_status(tx, fabric, [plug.port.id for plug in plugs])
    fabric.changed(tx, "l2", [old] if old else [])
    fabric.changed(tx, "l3", [host, old or ""])
