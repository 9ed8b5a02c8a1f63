"""Ports, their addresses and their security groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    exists,
    false,
    func,
    or_,
    select,
)
from sqlalchemy.sql import ColumnElement

from pileus.kernel.db import Json, Tx
from pileus.services.network.db import tags
from pileus.services.network.db.listing import Filter, ListQuery, select_page
from pileus.services.network.db.metadata import (
    HOST_CHARS,
    ID_CHARS,
    METADATA,
    NAME_CHARS,
    Standard,
    insert_unless_taken,
    standard_columns,
)
from pileus.services.network.db.networks import NETWORKS
from pileus.services.network.db.subnets import ADDRESS_CHARS


class Address(msgspec.Struct, frozen=True):
    """One address of a port."""

    subnet_id: str
    ip_address: str


class Port(Standard, frozen=True, kw_only=True):
    """A port. host: where it is bound ("": nowhere). trusted: the cloud plugged it itself (DHCP, router).

    l2_up, dhcp_ready: what agents reported; the generations are those of the desired states that first had the port
    as it is now: older reports do not count.
    """

    network_id: str
    name: str
    mac_address: str
    admin_state_up: bool
    status: str
    device_id: str
    device_owner: str
    port_security_enabled: bool
    allowed_address_pairs: list[dict[str, str]]
    extra_dhcp_opts: list[dict[str, Any]]
    dns_name: str
    vnic_type: str
    host: str
    profile: dict[str, Any]
    vif_type: str
    vif_details: dict[str, Any]
    trusted: bool
    l2_up: bool
    l2_generation: int
    dhcp_ready: bool
    dhcp_generation: int
    fixed_ips: tuple[Address, ...] = ()
    security_groups: tuple[str, ...] = ()


class WiredPort(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a port that its host must know: hosts have many, and their agents ask often."""

    id: str
    network_id: str
    mac_address: str
    admin_state_up: bool
    device_id: str
    device_owner: str
    port_security_enabled: bool
    allowed_address_pairs: list[dict[str, str]]
    extra_dhcp_opts: list[dict[str, Any]]
    dns_name: str
    trusted: bool
    fixed_ips: tuple[Address, ...] = ()
    security_groups: tuple[str, ...] = ()


PORTS = Table(
    "ports",
    METADATA,
    *standard_columns(),
    Column("network_id", String(ID_CHARS), ForeignKey("networks.id"), nullable=False),
    Column("name", String(NAME_CHARS), nullable=False),
    Column("mac_address", String(17), nullable=False),
    Column("admin_state_up", Boolean, nullable=False),
    Column("status", String(16), nullable=False),
    Column("device_id", String(NAME_CHARS), nullable=False, index=True),
    Column("device_owner", String(NAME_CHARS), nullable=False),
    Column("port_security_enabled", Boolean, nullable=False),
    Column("allowed_address_pairs", Json, nullable=False),
    Column("extra_dhcp_opts", Json, nullable=False),
    Column("dns_name", String(NAME_CHARS), nullable=False),
    Column("vnic_type", String(32), nullable=False),
    Column("host", String(HOST_CHARS), nullable=False, index=True),
    Column("profile", Json, nullable=False),
    Column("vif_type", String(32), nullable=False),
    Column("vif_details", Json, nullable=False),
    Column("trusted", Boolean, nullable=False),
    Column("l2_up", Boolean, nullable=False),
    Column("l2_generation", Integer, nullable=False),
    Column("dhcp_ready", Boolean, nullable=False),
    Column("dhcp_generation", Integer, nullable=False),
    UniqueConstraint("network_id", "mac_address"),
)

ADDRESSES = Table(
    "addresses",
    METADATA,
    Column("subnet_id", String(ID_CHARS), ForeignKey("subnets.id"), primary_key=True),
    Column("ip_address", String(ADDRESS_CHARS), primary_key=True),
    Column("port_id", String(ID_CHARS), ForeignKey("ports.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Index("addresses_by_ip", "ip_address"),
)

PORT_GROUPS = Table(
    "port_security_groups",
    METADATA,
    Column("port_id", String(ID_CHARS), ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "security_group_id", String(ID_CHARS), ForeignKey("security_groups.id"), primary_key=True, index=True
    ),
)


def _by_address(values: list[str]) -> ColumnElement[bool]:
    """`fixed_ips=ip_address=1.2.3.4`, `subnet_id=…`, `ip_address_substr=…`; different keys must all match."""
    wanted: defaultdict[str, list[str]] = defaultdict(list)
    for value in values:
        key, sign, text = value.partition("=")
        if not sign:
            key, text = "ip_address", value
        wanted[key].append(text)
    conditions: list[ColumnElement[bool]] = [ADDRESSES.c.port_id == PORTS.c.id]
    for key, texts in wanted.items():
        if key in ("ip_address", "subnet_id"):
            conditions.append(ADDRESSES.c[key].in_(texts))
        elif key == "ip_address_substr":
            conditions.append(or_(*(ADDRESSES.c.ip_address.contains(text, autoescape=True) for text in texts)))
        else:
            return false()
    return exists().where(*conditions)


def _by_group(values: list[str]) -> ColumnElement[bool]:
    return exists().where(PORT_GROUPS.c.port_id == PORTS.c.id, PORT_GROUPS.c.security_group_id.in_(values))


FILTERS: dict[str, Filter] = {
    **{
        name: PORTS.c[name]
        for name in (
            "id", "project_id", "name", "description", "network_id", "mac_address", "admin_state_up", "status",
            "device_id", "device_owner", "port_security_enabled", "dns_name", "revision_number",
        )
    },
    "tenant_id": PORTS.c.project_id,
    "binding:host_id": PORTS.c.host,
    "binding:vnic_type": PORTS.c.vnic_type,
    "binding:vif_type": PORTS.c.vif_type,
    "fixed_ips": _by_address,
    "security_groups": _by_group,
    **tags.filters(PORTS),
}  # fmt: skip


_WIRED = [PORTS.c[name] for name in WiredPort.__struct_fields__ if name not in ("fixed_ips", "security_groups")]


def visible_to(project_id: str | None) -> ColumnElement[bool]:
    """Ports that a project may see: its own, and all on networks it owns."""
    return or_(
        PORTS.c.project_id == project_id,
        exists().where(NETWORKS.c.id == PORTS.c.network_id, NETWORKS.c.project_id == project_id),
    )


def load(tx: Tx, *where: ColumnElement[bool], with_tags: bool = False) -> list[Port]:
    """Ports by conditions, whole, in three queries (four with tags), oldest first."""
    return _whole(tx, tx.all(select(PORTS).where(*where).order_by(PORTS.c.created_at, PORTS.c.id)), with_tags)


def load_wired(tx: Tx, *where: ColumnElement[bool]) -> list[WiredPort]:
    """What agents must know of ports by conditions, in three queries, oldest first."""
    rows = tx.all(select(*_WIRED).where(*where).order_by(PORTS.c.created_at, PORTS.c.id))
    addresses, groups = _belongings(tx, [row.id for row in rows])
    return [
        WiredPort(**row._mapping, fixed_ips=tuple(addresses[row.id]), security_groups=tuple(groups[row.id]))
        for row in rows
    ]


def _whole(tx: Tx, rows: Iterable[Any], with_tags: bool) -> list[Port]:
    rows = list(rows)
    ids = [row.id for row in rows]
    addresses, groups = _belongings(tx, ids)
    words = tags.of(tx, ids) if with_tags else {}
    return [
        Port(
            **row._mapping, fixed_ips=tuple(addresses[row.id]), security_groups=tuple(groups[row.id]),
            tags=words.get(row.id, ()),
        )
        for row in rows
    ]  # fmt: skip


def _belongings(tx: Tx, ids: list[str]) -> tuple[dict[str, list[Address]], dict[str, list[str]]]:
    """Addresses and security groups by port."""
    addresses: defaultdict[str, list[Address]] = defaultdict(list)
    order = (ADDRESSES.c.port_id, ADDRESSES.c.position)
    for part in _chunks(ids):
        for row in tx.all(select(ADDRESSES).where(ADDRESSES.c.port_id.in_(part)).order_by(*order)):
            addresses[row.port_id].append(Address(row.subnet_id, row.ip_address))
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for part in _chunks(ids):
        for row in tx.all(select(PORT_GROUPS).where(PORT_GROUPS.c.port_id.in_(part))):
            groups[row.port_id].append(row.security_group_id)
    return addresses, groups


def _chunks(ids: list[str], size: int = 5_000) -> Iterable[list[str]]:
    """Parts that fit into one statement's parameters."""
    return (ids[at : at + size] for at in range(0, len(ids), size))


def page(tx: Tx, query: ListQuery, *scope: ColumnElement[bool]) -> list[Port]:
    """One page of ports."""
    return _whole(tx, select_page(tx, PORTS, query, FILTERS, *scope), True)


def get(tx: Tx, port_id: str) -> Port | None:
    """One port, or None."""
    found = load(tx, PORTS.c.id == port_id, with_tags=True)
    return found[0] if found else None


def count_of_project(tx: Tx, project_id: str) -> int:
    return tx.scalar(select(func.count()).select_from(PORTS).where(PORTS.c.project_id == project_id))


def claim_address(tx: Tx, port_id: str, subnet_id: str, ip_address: str, position: int) -> bool:
    """Give an address to a port; False if somebody has it."""
    return insert_unless_taken(
        tx, ADDRESSES,
        {"subnet_id": subnet_id, "ip_address": ip_address, "port_id": port_id, "position": position},
    )  # fmt: skip


def free_addresses(tx: Tx, port_id: str, addresses: Iterable[Address]) -> None:
    """Take addresses from a port."""
    for address in addresses:
        tx.execute(
            delete(ADDRESSES).where(
                ADDRESSES.c.port_id == port_id, ADDRESSES.c.subnet_id == address.subnet_id,
                ADDRESSES.c.ip_address == address.ip_address,
            )
        )  # fmt: skip


def taken_among(tx: Tx, subnet_id: str, candidates: Iterable[str]) -> set[str]:
    """Which of some addresses are taken."""
    among = {"the_subnet": subnet_id, "candidates": list(candidates)}
    return {row.ip_address for row in tx.all(_TAKEN_AMONG, among)}


_TAKEN_AMONG = select(ADDRESSES.c.ip_address).where(
    ADDRESSES.c.subnet_id == bindparam("the_subnet"),
    ADDRESSES.c.ip_address.in_(bindparam("candidates", expanding=True)),
)


def all_taken(tx: Tx, subnet_id: str) -> set[str]:
    """Every taken address of a subnet; only asked when the subnet is nearly full."""
    return {row.ip_address for row in tx.all(select(ADDRESSES.c.ip_address).where(ADDRESSES.c.subnet_id == subnet_id))}


def set_groups(tx: Tx, port_id: str, group_ids: Iterable[str]) -> None:
    """Make these the security groups of a port."""
    tx.execute(delete(PORT_GROUPS).where(PORT_GROUPS.c.port_id == port_id))
    add_groups(tx, port_id, group_ids)


def add_groups(tx: Tx, port_id: str, group_ids: Iterable[str]) -> None:
    """Put a port that is in none of these groups into them."""
    rows = [{"port_id": port_id, "security_group_id": group_id} for group_id in dict.fromkeys(group_ids)]
    if rows:
        tx.execute(PORT_GROUPS.insert(), rows)


def remove(tx: Tx, ids: Iterable[str]) -> None:
    """Delete ports with their addresses and group memberships."""
    wanted = list(ids)
    tx.execute(delete(ADDRESSES).where(ADDRESSES.c.port_id.in_(wanted)))
    tx.execute(delete(PORT_GROUPS).where(PORT_GROUPS.c.port_id.in_(wanted)))
    tx.execute(delete(PORTS).where(PORTS.c.id.in_(wanted)))
    tags.forget(tx, wanted)
