"""Binding ports to hosts, and what reports of agents make of their status."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

from pileus.kernel.db import Tx
from pileus.services.network import states
from pileus.services.network.db import agents, ports, subnets
from pileus.services.network.db.intents.fabric import Fabric, hosts_of_network
from pileus.services.network.db.metadata import revise
from pileus.services.network.db.networks import Network
from pileus.services.network.db.ports import PORTS, Port
from pileus.services.network.drivers.mechanism.interface import Refusal, Request
from pileus.services.network.drivers.type.interface import Segment
from pileus.services.network.rpc import PortStatusChanged

log = logging.getLogger(__name__)

UNBOUND: dict[str, Any] = {
    "host": "", "vif_type": states.VIF_UNBOUND, "vif_details": {}, "l2_up": False, "l2_generation": 0,
}  # fmt: skip


def bind(
    tx: Tx, fabric: Fabric, network: Network, host: str, vnic_type: str, *, up: bool, port_id: str = "(new)"
) -> dict[str, Any]:
    """The binding columns of a port on a host ("": on none), as the mechanism driver decides. The host, and where it
    is new to the network all others of it, get a new generation."""
    if not host:
        return UNBOUND
    agent = agents.on_host(tx, "l2", host)
    alive = agent is not None and agent.is_alive(tx.now(), fabric.config.agent_down_time_s)
    request = Request(
        network_id=network.id,
        segment=Segment(network.network_type, network.physical_network, network.segmentation_id),
        vnic_type=vnic_type,
        configurations=agent.configurations if agent is not None and alive else None,
    )
    decision = fabric.mechanism.bind(request)
    if isinstance(decision, Refusal):
        log.warning("port %s of network %s cannot be bound to %s: %s", port_id, network.id, host, decision.reason)
        return UNBOUND | {"host": host, "vif_type": states.VIF_BINDING_FAILED}
    present = hosts_of_network(tx, network.id)
    fabric.changed(tx, "l2", {host} if host in present else {host, *present})
    return {
        "host": host, "vif_type": decision.vif_type, "vif_details": decision.vif_details,
        "l2_up": decision.wired and up, "l2_generation": agents.generation(tx, "l2", host),
    }  # fmt: skip


def tell_network(tx: Tx, fabric: Fabric, network_id: str, left: str) -> None:
    """A port left a host: if it was the last of its network there, the others flood to that host no longer."""
    present = hosts_of_network(tx, network_id)
    if left and left not in present:
        fabric.changed(tx, "l2", present)


def refresh_status(tx: Tx, fabric: Fabric, port_ids: Iterable[str], *, failed: Iterable[str] = ()) -> None:
    """Bring ports' status in line with what agents reported, and tell who listens about those that changed."""
    settle(tx, fabric, ports.load(tx, PORTS.c.id.in_(list(port_ids))), failed=failed)


def settle(tx: Tx, fabric: Fabric, found: Collection[Port], *, failed: Iterable[str] = ()) -> bool:
    """The same for ports that were read (or written) in this transaction. Returns whether a status changed."""
    changed = False
    served = agents.dhcp_hosts(tx, {port.network_id for port in found})
    by_dhcp = {
        subnet.id
        for subnet in subnets.by_ids(tx, {a.subnet_id for port in found for a in port.fixed_ips}).values()
        if subnet.enable_dhcp
    }
    broken = set(failed)
    for port in found:
        if port.device_owner == states.OWNER_FLOATING_IP:
            continue
        # Once a guest is up, changes of its lease do not take it down again.
        own = port.trusted or port.device_owner.startswith("network:") or port.network_id not in served
        own = own or port.status == states.ACTIVE
        status = states.port_status(
            l2_up=port.l2_up, dhcp_ready=port.dhcp_ready,
            needs_dhcp=not own and any(a.subnet_id in by_dhcp for a in port.fixed_ips),
            failed=not port.l2_up and (port.id in broken or (port.status == states.ERROR and bool(port.host))),
        )  # fmt: skip
        if status != port.status:
            changed = True
            revise(tx, PORTS, (port.id,), {"status": status})
            event = PortStatusChanged(port_id=port.id, status=status, device_id=port.device_id, host=port.host)
            fabric.announce(tx, event)
    return changed
