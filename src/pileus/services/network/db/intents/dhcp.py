"""Placing a network's DHCP service on an agent, with its port."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.network import states
from pileus.services.network.db import agents, networks, ports, subnets
from pileus.services.network.db.agents import DHCP_SERVICES
from pileus.services.network.db.intents.addresses import Claimant, reallocate
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.errors import IpAddressGenerationFailure, OverQuota
from pileus.services.network.logic.placement import choose_host

log = logging.getLogger(__name__)
MakePort = Callable[..., Any]


def ensure_dhcp(tx: Tx, fabric: Fabric, network_id: str, *, make_port: MakePort) -> None:
    """Place a network's DHCP, if it has a subnet that wants it, is placed nowhere yet, and an agent lives."""
    if agents.dhcp_hosts(tx, (network_id,)):
        return
    wanted = _wanted(tx, network_id)
    if not wanted:
        return
    host = choose_host(fabric.alive_hosts(tx, "dhcp"), agents.load_of_hosts(tx, "dhcp"))
    network = networks.get(tx, network_id)
    if host is None or network is None or not network.admin_state_up:
        return
    values = {
        "device_owner": states.OWNER_DHCP, "device_id": device_id(host, network_id), "host": host, "trusted": True,
        "fixed_ips": wanted,
    }  # fmt: skip
    try:
        with tx.connection.begin_nested():
            port = make_port(tx, fabric, network.project_id, network, values)
    except (IpAddressGenerationFailure, OverQuota) as error:
        log.warning("network %s gets no DHCP service: %s", network_id, error)
        return
    agents.place_dhcp(tx, network_id, host, port.id)
    fabric.changed(tx, "dhcp", [host])


def device_id(host: str, network_id: str) -> str:
    """The device of a DHCP port, in the form that tools know."""
    return f"dhcp{uuid5(NAMESPACE_DNS, host)}-{network_id}"


def _wanted(tx: Tx, network_id: str) -> list[dict[str, Any]]:
    return [{"subnet_id": subnet.id} for subnet in subnets.of_networks(tx, (network_id,)) if subnet.enable_dhcp]


def service_port(tx: Tx, network_id: str) -> str | None:
    """The port that a network's DHCP service uses."""
    return tx.scalar(select(DHCP_SERVICES.c.port_id).where(DHCP_SERVICES.c.network_id == network_id))


def follow_subnets(tx: Tx, fabric: Fabric, network_id: str, *, drop_port: Callable[..., None]) -> None:
    """Subnets of a network changed: its DHCP port gets an address in each that wants DHCP; none left, it goes."""
    port_id = service_port(tx, network_id)
    port = ports.get(tx, port_id) if port_id else None
    if port is None:
        return
    wanted = _wanted(tx, network_id)
    fabric.changed(tx, "dhcp", agents.dhcp_hosts(tx, (network_id,)).values())
    if not wanted:
        drop_port(tx, fabric, port, by_user=False)
        return
    claimant = Claimant(port.id, network_id, port.mac_address, is_router=False)
    try:
        with tx.connection.begin_nested():
            reallocate(tx, fabric, claimant, port.fixed_ips, wanted)
    except IpAddressGenerationFailure as error:
        log.warning("the DHCP port of network %s keeps its addresses: %s", network_id, error)
    fabric.changed(tx, "l2", [port.host])


def remove_dhcp(tx: Tx, fabric: Fabric, network_id: str, *, drop_port: Callable[..., None]) -> None:
    """Take a network's DHCP service away; its port goes with it."""
    port_id = service_port(tx, network_id)
    port = ports.get(tx, port_id) if port_id else None
    if port is not None:
        fabric.changed(tx, "dhcp", agents.dhcp_hosts(tx, (network_id,)).values())
        drop_port(tx, fabric, port, by_user=False)
