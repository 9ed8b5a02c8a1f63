"""Routers and the ports that are plugged into them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, ForeignKey, String, Table, delete, func, select
from sqlalchemy.sql import ColumnElement

from pileus.kernel.db import Json, Tx
from pileus.services.network.db import tags
from pileus.services.network.db.listing import Filter, ListQuery, select_page
from pileus.services.network.db.metadata import HOST_CHARS, ID_CHARS, METADATA, NAME_CHARS, Standard, standard_columns
from pileus.services.network.db.ports import PORTS, Address, Port, load

GATEWAY, INTERFACE = "gateway", "interface"


class Router(Standard, frozen=True, kw_only=True):
    """A router. host: where its L3 agent is ("": not placed). gateway_*: of the port in the external network."""

    name: str
    admin_state_up: bool
    status: str
    enable_snat: bool
    routes: list[dict[str, str]]
    availability_zone_hints: list[str]
    host: str
    gateway_port_id: str | None = None
    gateway_network_id: str | None = None
    gateway_ips: tuple[Address, ...] = ()


class Plug(msgspec.Struct, frozen=True):
    """A port in a router; `kind` is GATEWAY or INTERFACE."""

    router_id: str
    kind: str
    port: Port


ROUTERS = Table(
    "routers",
    METADATA,
    *standard_columns(),
    Column("name", String(NAME_CHARS), nullable=False),
    Column("admin_state_up", Boolean, nullable=False),
    Column("status", String(16), nullable=False),
    Column("enable_snat", Boolean, nullable=False),
    Column("routes", Json, nullable=False),
    Column("availability_zone_hints", Json, nullable=False),
    Column("host", String(HOST_CHARS), nullable=False, index=True),
)

ROUTER_PORTS = Table(
    "router_ports",
    METADATA,
    Column("port_id", String(ID_CHARS), ForeignKey("ports.id"), primary_key=True),
    Column("router_id", String(ID_CHARS), ForeignKey("routers.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
)

FILTERS: dict[str, Filter] = {
    **{
        name: ROUTERS.c[name]
        for name in ("id", "project_id", "name", "description", "admin_state_up", "status", "revision_number")
    },
    "tenant_id": ROUTERS.c.project_id,
    **tags.filters(ROUTERS),
}


def visible_to(project_id: str | None) -> ColumnElement[bool]:
    return ROUTERS.c.project_id == project_id


def plugs(tx: Tx, router_ids: Iterable[str], kind: str | None = None) -> list[Plug]:
    """Ports of routers, oldest first."""
    c = ROUTER_PORTS.c
    where = [c.router_id.in_(list(router_ids))] + ([c.kind == kind] if kind else [])
    rows = {row.port_id: row for row in tx.all(select(ROUTER_PORTS).where(*where))}
    if not rows:
        return []
    return [Plug(rows[port.id].router_id, rows[port.id].kind, port) for port in load(tx, PORTS.c.id.in_(list(rows)))]


def _load(tx: Tx, rows: Iterable[Any]) -> list[Router]:
    rows = list(rows)
    ids = [row.id for row in rows]
    gateways = {plug.router_id: plug.port for plug in plugs(tx, ids, GATEWAY)}
    words = tags.of(tx, ids)
    found = []
    for row in rows:
        port = gateways.get(row.id)
        gateway = (
            {}
            if port is None
            else {"gateway_port_id": port.id, "gateway_network_id": port.network_id, "gateway_ips": port.fixed_ips}
        )
        found.append(Router(**row._mapping, **gateway, tags=words.get(row.id, ())))
    return found


def page(tx: Tx, query: ListQuery, *scope: ColumnElement[bool]) -> list[Router]:
    """One page of routers."""
    return _load(tx, select_page(tx, ROUTERS, query, FILTERS, *scope))


def load_where(tx: Tx, *where: ColumnElement[bool]) -> list[Router]:
    """Routers by conditions, oldest first."""
    return _load(tx, tx.all(select(ROUTERS).where(*where).order_by(ROUTERS.c.created_at, ROUTERS.c.id)))


def get(tx: Tx, router_id: str) -> Router | None:
    """One router, or None."""
    found = load_where(tx, ROUTERS.c.id == router_id)
    return found[0] if found else None


def plug(tx: Tx, router_id: str, port_id: str, kind: str) -> None:
    """Note that a port belongs to a router."""
    tx.execute(ROUTER_PORTS.insert().values(port_id=port_id, router_id=router_id, kind=kind))


def unplug(tx: Tx, port_id: str) -> None:
    """The port belongs to no router any more."""
    tx.execute(delete(ROUTER_PORTS).where(ROUTER_PORTS.c.port_id == port_id))


def router_of_port(tx: Tx, port_id: str) -> str | None:
    """The router that a port is plugged into."""
    return tx.scalar(select(ROUTER_PORTS.c.router_id).where(ROUTER_PORTS.c.port_id == port_id))


def routers_on_network(tx: Tx, network_id: str) -> list[str]:
    """Ids of the routers that have a port in a network."""
    statement = (
        select(ROUTER_PORTS.c.router_id).join(PORTS, PORTS.c.id == ROUTER_PORTS.c.port_id)
        .where(PORTS.c.network_id == network_id).distinct()
    )  # fmt: skip
    return [row.router_id for row in tx.all(statement)]


def remove(tx: Tx, router_id: str) -> None:
    tx.execute(delete(ROUTERS).where(ROUTERS.c.id == router_id))
    tags.forget(tx, (router_id,))


def count_of_project(tx: Tx, project_id: str) -> int:
    return tx.scalar(select(func.count()).select_from(ROUTERS).where(ROUTERS.c.project_id == project_id))
