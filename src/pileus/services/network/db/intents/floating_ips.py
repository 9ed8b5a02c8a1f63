"""Floating IPs: creating, leading them to a port, taking them away."""

from __future__ import annotations

import ipaddress
from typing import Any

from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.network import states
from pileus.services.network.db import floating_ips, ports, subnets
from pileus.services.network.db.floating_ips import FLOATING_IPS, FloatingIp
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.intents.ports import create_port, delete_port
from pileus.services.network.db.metadata import insert_unless_taken, revise, stamped
from pileus.services.network.db.networks import Network
from pileus.services.network.db.ports import ADDRESSES, PORTS, Address, Port
from pileus.services.network.db.routers import GATEWAY, INTERFACE, ROUTER_PORTS, ROUTERS
from pileus.services.network.errors import (
    BadRequest,
    ExternalGatewayForFloatingIPNotFound,
    ExternalIpAddressExhausted,
    FloatingIPPortAlreadyAssociated,
)
from pileus.services.network.quotas import claim
from pileus.services.network.rpc import FloatingIpChanged


def create_floating_ip(
    tx: Tx, fabric: Fabric, project_id: str, network: Network, values: dict[str, Any], port: Port | None
) -> FloatingIp:
    """Take an address of an external network, and lead it to `port` if one is given.

    values: `description`, `dns_name`, `dns_domain`, `floating_ip_address`, `subnet_id`, `fixed_ip_address`.
    """
    if not network.external:
        raise BadRequest(resource="floatingip", reason=f"Network {network.id} is not a valid external network")
    claim(tx, fabric.limits, project_id, "floatingip")
    floating_ip_id = tx.clock.new_id()
    outer = create_port(tx, fabric, "", network, _outer_port(tx, network, floating_ip_id, values))
    address = next((a.ip_address for a in outer.fixed_ips if ":" not in a.ip_address), None)
    if address is None:
        raise ExternalIpAddressExhausted(network_id=network.id)
    tx.execute(PORTS.update().where(PORTS.c.id == outer.id).values(status="N/A"))
    row = stamped(
        tx,
        {
            "project_id": project_id, "description": values["description"], "floating_network_id": network.id,
            "floating_port_id": outer.id, "floating_ip_address": address, "port_id": None, "fixed_ip_address": None,
            "router_id": None, "status": states.DOWN, "dns_name": values["dns_name"],
            "dns_domain": values["dns_domain"],
        },
    ) | {"id": floating_ip_id}  # fmt: skip
    insert_unless_taken(tx, FLOATING_IPS, row)
    made = _found(tx, floating_ip_id)
    return made if port is None else associate(tx, fabric, made, port, values.get("fixed_ip_address"))


def _outer_port(tx: Tx, network: Network, floating_ip_id: str, values: dict[str, Any]) -> dict[str, Any]:
    wanted: list[dict[str, Any]]
    entry = {"ip_address": values.get("floating_ip_address"), "subnet_id": values.get("subnet_id")}
    if any(entry.values()):
        wanted = [{key: value for key, value in entry.items() if value}]
    else:
        v4 = [subnet for subnet in subnets.of_networks(tx, (network.id,)) if subnet.ip_version == 4]
        if not v4:
            raise BadRequest(resource="floatingip", reason=f"Network {network.id} does not contain any IPv4 subnet")
        return _port_values(floating_ip_id, None)
    return _port_values(floating_ip_id, wanted)


def _port_values(floating_ip_id: str, wanted: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {
        "device_owner": states.OWNER_FLOATING_IP, "device_id": floating_ip_id, "trusted": True, "fixed_ips": wanted,
    }  # fmt: skip


def _found(tx: Tx, floating_ip_id: str) -> FloatingIp:
    found = floating_ips.get(tx, floating_ip_id)
    assert found is not None, "a floating IP of this transaction"
    return found


def associate(tx: Tx, fabric: Fabric, floating_ip: FloatingIp, port: Port, fixed_ip: str | None) -> FloatingIp:
    """Lead a floating IP to an address of a port, through the router between the two networks."""
    inner = _inner_address(port, fixed_ip)
    taken = select(FLOATING_IPS.c.floating_ip_address, FLOATING_IPS.c.id).where(
        FLOATING_IPS.c.port_id == port.id, FLOATING_IPS.c.fixed_ip_address == inner.ip_address,
        FLOATING_IPS.c.floating_network_id == floating_ip.floating_network_id, FLOATING_IPS.c.id != floating_ip.id,
    )  # fmt: skip
    holder = tx.first(taken)
    if holder is not None:
        raise FloatingIPPortAlreadyAssociated(
            floating_ip=floating_ip.floating_ip_address, id=floating_ip.id, port_id=port.id,
            fixed_ip=inner.ip_address, network_id=floating_ip.floating_network_id,
        )  # fmt: skip
    router_id = _router_between(tx, inner.subnet_id, floating_ip.floating_network_id)
    if router_id is None:
        raise ExternalGatewayForFloatingIPNotFound(
            network_id=floating_ip.floating_network_id, subnet_id=inner.subnet_id, port_id=port.id
        )
    _tell(tx, fabric, floating_ip.router_id, router_id)
    changes = {
        "port_id": port.id, "fixed_ip_address": inner.ip_address, "router_id": router_id, "status": states.DOWN,
    }  # fmt: skip
    if (floating_ip.port_id, floating_ip.fixed_ip_address) == (port.id, inner.ip_address):
        del changes["status"]
    revise(tx, FLOATING_IPS, (floating_ip.id,), changes)
    _announce(tx, fabric, floating_ip, port.id)
    return _found(tx, floating_ip.id)


def _inner_address(port: Port, fixed_ip: str | None) -> Address:
    v4 = [a for a in port.fixed_ips if ":" not in a.ip_address]
    if fixed_ip is not None:
        for address in v4:
            if address.ip_address == fixed_ip:
                return address
        reason = f"Port {port.id} does not have fixed ip {fixed_ip}"
    elif not v4:
        reason = f"Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses"
    elif len(v4) > 1:
        reason = (
            f"Port {port.id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a "
            "floating IP"
        )
    else:
        return v4[0]
    raise BadRequest(resource="floatingip", reason=reason)


def _router_between(tx: Tx, subnet_id: str, external_network_id: str) -> str | None:
    """The router with an interface in the subnet and its gateway in the external network; the one that is the
    subnet's gateway first."""
    inner, outer = ROUTER_PORTS.alias("inner"), ROUTER_PORTS.alias("outer")
    statement = (
        select(inner.c.router_id, ADDRESSES.c.ip_address)
        .join(ADDRESSES, ADDRESSES.c.port_id == inner.c.port_id)
        .join(outer, outer.c.router_id == inner.c.router_id)
        .join(PORTS, PORTS.c.id == outer.c.port_id)
        .where(
            inner.c.kind == INTERFACE, outer.c.kind == GATEWAY, ADDRESSES.c.subnet_id == subnet_id,
            PORTS.c.network_id == external_network_id,
        )
    )  # fmt: skip
    found = sorted(tx.all(statement), key=lambda row: (int(ipaddress.ip_address(row.ip_address)), row.router_id))
    subnet = subnets.get(tx, subnet_id)
    gateway = subnet.gateway_ip if subnet is not None else None
    return next((row.router_id for row in found if row.ip_address == gateway), found[0].router_id if found else None)


def _tell(tx: Tx, fabric: Fabric, *router_ids: str | None) -> None:
    wanted = [router_id for router_id in router_ids if router_id]
    fabric.changed(tx, "l3", [r.host for r in tx.all(select(ROUTERS.c.host).where(ROUTERS.c.id.in_(wanted)))])


def _announce(tx: Tx, fabric: Fabric, before: FloatingIp, port_id: str | None = None) -> None:
    """Tell subscribers of the port that a floating IP led to before, and of the one it leads to now."""
    concerned = {port for port in (before.port_id, port_id) if port}
    if not concerned:
        return
    for row in tx.all(select(PORTS.c.id, PORTS.c.device_id).where(PORTS.c.id.in_(sorted(concerned)))):
        event = FloatingIpChanged(floating_ip_id=before.id, port_id=row.id, device_id=row.device_id)
        fabric.announce(tx, event)


def disassociate(tx: Tx, fabric: Fabric, floating_ip: FloatingIp) -> FloatingIp:
    """Lead a floating IP nowhere."""
    _tell(tx, fabric, floating_ip.router_id)
    none = {"port_id": None, "fixed_ip_address": None, "router_id": None, "status": states.DOWN}
    revise(tx, FLOATING_IPS, (floating_ip.id,), none)
    _announce(tx, fabric, floating_ip)
    return _found(tx, floating_ip.id)


def delete_floating_ip(tx: Tx, fabric: Fabric, floating_ip: FloatingIp) -> None:
    """Give the address back."""
    _tell(tx, fabric, floating_ip.router_id)
    floating_ips.remove(tx, floating_ip.id)
    _announce(tx, fabric, floating_ip)
    outer = ports.get(tx, floating_ip.floating_port_id)
    if outer is not None:
        delete_port(tx, fabric, outer, by_user=False)


