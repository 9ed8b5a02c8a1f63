"""What transactions need besides the database, and whom they wake."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Protocol

from sqlalchemy import bindparam, select

from pileus.kernel.bus import Event
from pileus.kernel.db import Tx
from pileus.kernel.quota import Quotas
from pileus.services.network.config import NetworkConfig
from pileus.services.network.db import agents
from pileus.services.network.db.ports import PORT_GROUPS, PORTS
from pileus.services.network.db.routers import ROUTER_PORTS, ROUTERS
from pileus.services.network.db.security_groups import RULES
from pileus.services.network.drivers.mechanism.interface import MechanismDriver
from pileus.services.network.drivers.type.interface import TypeDriver


class Bells(Protocol):
    """Wakes agents and tells subscribers, once a transaction is on disk."""

    def ring(self, kind: str, host: str) -> None: ...

    def announce(self, event: Event) -> None: ...


class Fabric:
    """The network service's drivers, limits, options and doorbells."""

    def __init__(
        self, config: NetworkConfig, limits: Quotas, types: dict[str, TypeDriver], mechanism: MechanismDriver,
        bells: Bells,
    ) -> None:  # fmt: skip
        self.config = config
        self.limits = limits
        self.types = types
        self.mechanism = mechanism
        self.bells = bells
        self.random = Random()

    def changed(self, tx: Tx, kind: str, hosts: Iterable[str]) -> None:
        """The desired state of these agents changes: a new generation now, a doorbell after the commit."""
        concerned = sorted({host for host in hosts if host})
        agents.advance(tx, kind, concerned)
        for host in concerned:
            tx.after_commit(lambda host=host: self.bells.ring(kind, host))

    def announce(self, tx: Tx, event: Event) -> None:
        """Tell subscribers after the commit."""
        tx.after_commit(lambda: self.bells.announce(event))

    def alive_hosts(self, tx: Tx, kind: str) -> list[str]:
        """Hosts with a living, enabled agent of a kind."""
        now, limit = tx.now(), self.config.agent_down_time_s
        return [a.host for a in agents.of_kind(tx, kind) if a.admin_state_up and a.is_alive(now, limit)]


def hosts_of_network(tx: Tx, network_id: str) -> set[str]:
    """Where a network has bound ports."""
    return {row.host for row in tx.all(_HOSTS_OF_NETWORK, {"the_network": network_id})}


# Both made once: they run with every port that comes or goes.
_HOSTS_OF_NETWORK = (
    select(PORTS.c.host).where(PORTS.c.network_id == bindparam("the_network"), PORTS.c.host != "").distinct()
)
_HOSTS_THAT_NAME = (
    select(PORTS.c.host).join(PORT_GROUPS, PORT_GROUPS.c.port_id == PORTS.c.id)
    .join(RULES, RULES.c.security_group_id == PORT_GROUPS.c.security_group_id)
    .where(RULES.c.remote_group_id.in_(bindparam("groups", expanding=True)), PORTS.c.host != "").distinct()
)  # fmt: skip


def hosts_of_group(tx: Tx, group_id: str) -> set[str]:
    """Where ports are in a security group."""
    statement = (
        select(PORTS.c.host).join(PORT_GROUPS, PORT_GROUPS.c.port_id == PORTS.c.id)
        .where(PORT_GROUPS.c.security_group_id == group_id, PORTS.c.host != "").distinct()
    )  # fmt: skip
    return {row.host for row in tx.all(statement)}


def hosts_that_name(tx: Tx, group_ids: Iterable[str]) -> set[str]:
    """Where ports are in a group with a rule that names one of these as remote group."""
    wanted = list(group_ids)
    if not wanted:
        return set()
    return {row.host for row in tx.all(_HOSTS_THAT_NAME, {"groups": wanted})}


def l3_hosts_of_network(tx: Tx, network_id: str) -> set[str]:
    """Where routers are that have a port in a network."""
    statement = (
        select(ROUTERS.c.host).join(ROUTER_PORTS, ROUTER_PORTS.c.router_id == ROUTERS.c.id)
        .join(PORTS, PORTS.c.id == ROUTER_PORTS.c.port_id).where(PORTS.c.network_id == network_id).distinct()
    )  # fmt: skip
    return {row.host for row in tx.all(statement)}
