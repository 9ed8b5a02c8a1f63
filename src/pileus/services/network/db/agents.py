"""Agents as their heartbeats tell, which networks' DHCP they serve, and the generations of their desired states."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Integer,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    select,
    update,
)

from pileus.kernel.db import Json, Tx, UtcDateTime
from pileus.services.network.db.listing import Filter, ListQuery, select_page
from pileus.services.network.db.metadata import HOST_CHARS, ID_CHARS, METADATA, NAME_CHARS, insert_unless_taken
from pileus.services.network.db.routers import ROUTERS


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """One agent. kind: l2, l3 or dhcp."""

    id: str
    kind: str
    host: str
    binary: str
    agent_type: str
    description: str
    admin_state_up: bool
    configurations: dict[str, Any]
    resource_counts: dict[str, int]
    created_at: datetime
    started_at: datetime
    heartbeat_at: datetime

    def is_alive(self, now: datetime, down_after_s: float) -> bool:
        return now - self.heartbeat_at < timedelta(seconds=down_after_s)


AGENTS = Table(
    "agents",
    METADATA,
    Column("id", String(ID_CHARS), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("host", String(HOST_CHARS), nullable=False),
    Column("binary", String(NAME_CHARS), nullable=False),
    Column("agent_type", String(NAME_CHARS), nullable=False),
    Column("description", String(NAME_CHARS), nullable=False),
    Column("admin_state_up", Boolean, nullable=False),
    Column("configurations", Json, nullable=False),
    Column("resource_counts", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    UniqueConstraint("kind", "host"),
)

DHCP_SERVICES = Table(
    "dhcp_services",
    METADATA,
    Column("network_id", String(ID_CHARS), ForeignKey("networks.id"), primary_key=True),
    Column("host", String(HOST_CHARS), nullable=False, index=True),
    Column("port_id", String(ID_CHARS), ForeignKey("ports.id"), nullable=False),
)
"""Where a network's DHCP runs, and the port it runs on."""

GENERATIONS = Table(
    "generations",
    METADATA,
    Column("kind", String(8), primary_key=True),
    Column("host", String(HOST_CHARS), primary_key=True),
    Column("generation", Integer, nullable=False),
)

FILTERS: dict[str, Filter] = {
    name: AGENTS.c[name] for name in ("id", "host", "binary", "agent_type", "description", "admin_state_up")
}


# Made once: these run with every port that comes or changes.
_ON_HOST = select(AGENTS).where(AGENTS.c.kind == bindparam("the_kind"), AGENTS.c.host == bindparam("the_host"))
_THE_GENERATION = (GENERATIONS.c.kind == bindparam("the_kind"), GENERATIONS.c.host == bindparam("the_host"))
_GENERATION = select(GENERATIONS.c.generation).where(*_THE_GENERATION)
_ADVANCE = update(GENERATIONS).where(*_THE_GENERATION).values(generation=GENERATIONS.c.generation + 1)
_SERVED = select(DHCP_SERVICES).where(DHCP_SERVICES.c.network_id.in_(bindparam("network_ids", expanding=True)))


def page(tx: Tx, query: ListQuery) -> list[Agent]:
    """One page of agents."""
    return [Agent(**row._mapping) for row in select_page(tx, AGENTS, query, FILTERS)]


def get(tx: Tx, agent_id: str) -> Agent | None:
    """One agent, or None."""
    row = tx.first(select(AGENTS).where(AGENTS.c.id == agent_id))
    return None if row is None else Agent(**row._mapping)


def on_host(tx: Tx, kind: str, host: str) -> Agent | None:
    """The agent of a kind on a host."""
    row = tx.first(_ON_HOST, {"the_kind": kind, "the_host": host})
    return None if row is None else Agent(**row._mapping)


def of_kind(tx: Tx, kind: str) -> list[Agent]:
    """All agents of a kind, by host."""
    statement = select(AGENTS).where(AGENTS.c.kind == kind).order_by(AGENTS.c.host)
    return [Agent(**row._mapping) for row in tx.all(statement)]


def beat(tx: Tx, kind: str, host: str, values: dict[str, Any]) -> bool:
    """Take down a heartbeat; True if the agent is new."""
    found = update(AGENTS).where(AGENTS.c.kind == kind, AGENTS.c.host == host)
    if tx.execute(found.values(**values)).rowcount:
        return False
    fresh = {"id": tx.clock.new_id(), "admin_state_up": True, "created_at": tx.now(), "kind": kind, "host": host}
    if not insert_unless_taken(tx, AGENTS, {**fresh, **values}):
        tx.execute(found.values(**values))
        return False
    return True


def remove(tx: Tx, agent_id: str) -> None:
    tx.execute(delete(AGENTS).where(AGENTS.c.id == agent_id))


def set_admin_state(tx: Tx, agent_id: str, values: dict[str, Any]) -> None:
    """Change what an operator may change of an agent."""
    tx.execute(update(AGENTS).where(AGENTS.c.id == agent_id).values(**values))


def generation(tx: Tx, kind: str, host: str) -> int:
    """The generation of an agent's desired state; 0 before the first change."""
    return tx.scalar(_GENERATION, {"the_kind": kind, "the_host": host}) or 0


def advance(tx: Tx, kind: str, hosts: Iterable[str]) -> None:
    """The desired state of these agents changes with this transaction."""
    for host in sorted(set(hosts)):
        which = {"the_kind": kind, "the_host": host}
        if not tx.execute(_ADVANCE, which).rowcount and not insert_unless_taken(
            tx, GENERATIONS, {"kind": kind, "host": host, "generation": 1}
        ):
            tx.execute(_ADVANCE, which)


def dhcp_hosts(tx: Tx, network_ids: Iterable[str]) -> dict[str, str]:
    """Host of the DHCP agent by network."""
    return {row.network_id: row.host for row in tx.all(_SERVED, {"network_ids": list(network_ids)})}


def dhcp_of_host(tx: Tx, host: str) -> dict[str, str]:
    """DHCP port by network, of one host."""
    return {row.network_id: row.port_id for row in tx.all(select(DHCP_SERVICES).where(DHCP_SERVICES.c.host == host))}


def load_of_hosts(tx: Tx, kind: str) -> dict[str, int]:
    """How many networks or routers each host serves."""
    table = DHCP_SERVICES if kind == "dhcp" else ROUTERS
    statement = select(table.c.host, func.count().label("number")).group_by(table.c.host)
    return {row.host: row.number for row in tx.all(statement)}


def place_dhcp(tx: Tx, network_id: str, host: str, port_id: str) -> None:
    """Note that a network's DHCP runs on a host."""
    tx.execute(DHCP_SERVICES.insert().values(network_id=network_id, host=host, port_id=port_id))


def unplace_dhcp(tx: Tx, network_id: str) -> None:
    tx.execute(delete(DHCP_SERVICES).where(DHCP_SERVICES.c.network_id == network_id))
