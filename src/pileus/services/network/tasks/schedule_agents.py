"""Places what is placed nowhere, moves what a dead agent had, and binds again what could not be bound."""

from __future__ import annotations

import logging

from sqlalchemy import exists, select

from pileus.kernel.db import Tx
from pileus.services.network import states
from pileus.services.network.db import agents, networks, ports
from pileus.services.network.db.agents import DHCP_SERVICES
from pileus.services.network.db.intents import binding, routers
from pileus.services.network.db.intents.dhcp import ensure_dhcp, remove_dhcp
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.intents.ports import create_port, delete_port
from pileus.services.network.db.metadata import revise
from pileus.services.network.db.networks import NETWORKS
from pileus.services.network.db.ports import PORTS
from pileus.services.network.db.routers import ROUTER_PORTS, ROUTERS
from pileus.services.network.db.subnets import SUBNETS
from pileus.services.network.logic.placement import choose_host

log = logging.getLogger(__name__)

MAX_PER_RUN = 200


def work_waits(tx: Tx, fabric: Fabric) -> bool:
    """Whether `schedule` has anything to do; a read, so that an idle cloud writes nothing."""
    return bool(_homeless_routers(tx, fabric) or _unserved_networks(tx, fabric) or _unbound_ports(tx, fabric))


def schedule(tx: Tx, fabric: Fabric) -> None:
    """One round, of at most `MAX_PER_RUN` of each kind."""
    _place_routers(tx, fabric)
    _place_dhcp(tx, fabric)
    _bind_again(tx, fabric)


def _homeless_routers(tx: Tx, fabric: Fabric) -> list[str]:
    """Routers with ports whose agent is dead or not chosen yet, while another lives."""
    alive = fabric.alive_hosts(tx, "l3")
    if not alive:
        return []
    plugged = exists().where(ROUTER_PORTS.c.router_id == ROUTERS.c.id)
    statement = select(ROUTERS.c.id).where(ROUTERS.c.host.not_in(alive), plugged).limit(MAX_PER_RUN)
    return [row.id for row in tx.all(statement)]


def _place_routers(tx: Tx, fabric: Fabric) -> None:
    for router_id in _homeless_routers(tx, fabric):
        host = choose_host(fabric.alive_hosts(tx, "l3"), agents.load_of_hosts(tx, "l3"))
        if host is not None:
            log.info("router %s goes to %s", router_id, host)
            routers.move(tx, fabric, router_id, host)


def _unserved_networks(tx: Tx, fabric: Fabric) -> list[str]:
    """Networks with guests that want DHCP and have none, or have it at a dead agent, while another lives."""
    alive = fabric.alive_hosts(tx, "dhcp")
    if not alive:
        return []
    served = exists().where(DHCP_SERVICES.c.network_id == NETWORKS.c.id, DHCP_SERVICES.c.host.in_(alive))
    wanted = exists().where(SUBNETS.c.network_id == NETWORKS.c.id, SUBNETS.c.enable_dhcp)
    guests = exists().where(PORTS.c.network_id == NETWORKS.c.id, PORTS.c.device_owner.not_like("network:%"))
    statement = select(NETWORKS.c.id).where(~served, wanted, guests, NETWORKS.c.admin_state_up).limit(MAX_PER_RUN)
    return [row.id for row in tx.all(statement)]


def _place_dhcp(tx: Tx, fabric: Fabric) -> None:
    for network_id in _unserved_networks(tx, fabric):
        remove_dhcp(tx, fabric, network_id, drop_port=delete_port)
        ensure_dhcp(tx, fabric, network_id, make_port=create_port)


def _unbound_ports(tx: Tx, fabric: Fabric) -> list[str]:
    """Ports whose binding failed, on hosts with a living L2 agent now."""
    alive = fabric.alive_hosts(tx, "l2")
    statement = select(PORTS.c.id).where(PORTS.c.vif_type == states.VIF_BINDING_FAILED, PORTS.c.host.in_(alive))
    return [row.id for row in tx.all(statement.limit(MAX_PER_RUN))]


def _bind_again(tx: Tx, fabric: Fabric) -> None:
    for port in ports.load(tx, PORTS.c.id.in_(_unbound_ports(tx, fabric))):
        network = networks.get(tx, port.network_id)
        if network is None:
            continue
        changes = binding.bind(
            tx, fabric, network, port.host, port.vnic_type, up=port.admin_state_up, port_id=port.id
        )
        if changes["vif_type"] != states.VIF_BINDING_FAILED:
            revise(tx, PORTS, (port.id,), changes)
            binding.refresh_status(tx, fabric, (port.id,))
