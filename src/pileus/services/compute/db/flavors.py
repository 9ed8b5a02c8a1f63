"""Flavors, their extra specs and who may use the private ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    and_,
    delete,
    or_,
    select,
    update,
)

from pileus.kernel.db import Json, Tx, UtcDateTime
from pileus.services.compute.db.metadata import METADATA
from pileus.services.compute.db.servers import FlavorCopy

FLAVORS = Table(
    "flavors",
    METADATA,
    Column("id", String(255), primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("vcpus", Integer, nullable=False),
    Column("ram_mib", Integer, nullable=False),
    Column("root_gib", Integer, nullable=False),
    Column("ephemeral_gib", Integer, nullable=False),
    Column("swap_mib", Integer, nullable=False),
    Column("rxtx_factor", Float, nullable=False),
    Column("is_public", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("description", Text),
    Column("extra_specs", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime),
)
ACCESS = Table(
    "flavor_access",
    METADATA,
    Column("flavor_id", String(255), ForeignKey("flavors.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", String(64), primary_key=True),
)

SORT_COLUMNS = {
    "flavorid": FLAVORS.c.id, "id": FLAVORS.c.id, "name": FLAVORS.c.name, "memory_mb": FLAVORS.c.ram_mib,
    "vcpus": FLAVORS.c.vcpus, "root_gb": FLAVORS.c.root_gib, "ephemeral_gb": FLAVORS.c.ephemeral_gib,
    "swap": FLAVORS.c.swap_mib, "rxtx_factor": FLAVORS.c.rxtx_factor, "is_public": FLAVORS.c.is_public,
    "disabled": FLAVORS.c.disabled, "created_at": FLAVORS.c.created_at, "updated_at": FLAVORS.c.updated_at,
    "description": FLAVORS.c.description, "vcpu_weight": FLAVORS.c.vcpus,
}


class Flavor(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table."""

    id: str
    name: str
    vcpus: int
    ram_mib: int
    root_gib: int
    ephemeral_gib: int
    swap_mib: int
    rxtx_factor: float
    is_public: bool
    disabled: bool
    description: str | None
    extra_specs: dict[str, str]
    created_at: datetime
    updated_at: datetime | None

    def copy(self) -> FlavorCopy:
        """What a server keeps of it."""
        return FlavorCopy(
            id=self.id, name=self.name, vcpus=self.vcpus, ram_mib=self.ram_mib, root_gib=self.root_gib,
            ephemeral_gib=self.ephemeral_gib, swap_mib=self.swap_mib, rxtx_factor=self.rxtx_factor,
            extra_specs=self.extra_specs, description=self.description,
        )


class FlavorFilter(msgspec.Struct, frozen=True, kw_only=True):
    """is_public None: both kinds. project_id: private flavors only if this project may use them; None: all of them."""

    is_public: bool | None = True
    project_id: str | None = None
    min_ram_mib: int = 0
    min_root_gib: int = 0
    name: str | None = None


def _from_row(row: Any) -> Flavor:
    return Flavor(**row._mapping)


def get(tx: Tx, flavor_id: str) -> Flavor | None:
    """A flavor by id."""
    row = tx.first(select(FLAVORS).where(FLAVORS.c.id == flavor_id))
    return None if row is None else _from_row(row)


def get_usable(tx: Tx, flavor_id: str, project_id: str | None) -> Flavor | None:
    """A flavor that is public or given to the project. None for the project: every flavor."""
    found = get(tx, flavor_id)
    if found is None or found.is_public or project_id is None:
        return found
    return found if project_id in access(tx, flavor_id) else None


def by_name(tx: Tx, name: str) -> Flavor | None:
    """A flavor by name."""
    row = tx.first(select(FLAVORS).where(FLAVORS.c.name == name))
    return None if row is None else _from_row(row)


def insert(tx: Tx, flavor: Flavor) -> None:
    """Add one."""
    tx.execute(FLAVORS.insert().values(**msgspec.structs.asdict(flavor)))


def change(tx: Tx, flavor_id: str, **values: Any) -> bool:
    """Set columns. False when there is no such flavor."""
    changed = tx.execute(update(FLAVORS).where(FLAVORS.c.id == flavor_id).values(updated_at=tx.now(), **values))
    return changed.rowcount > 0


def remove(tx: Tx, flavor_id: str) -> bool:
    """Delete one; servers keep their copy."""
    tx.execute(delete(ACCESS).where(ACCESS.c.flavor_id == flavor_id))
    return tx.execute(delete(FLAVORS).where(FLAVORS.c.id == flavor_id)).rowcount > 0


def page(
    tx: Tx, wanted: FlavorFilter, *, sort: tuple[tuple[str, str], ...], limit: int, marker: Flavor | None
) -> list[Flavor]:
    """Flavors after `marker`, in order of the first sort key and the id."""
    key, direction = sort[0]
    column, descending = SORT_COLUMNS[key], direction == "desc"
    statement = select(FLAVORS).where(*_conditions(wanted))
    if marker is not None:
        value = getattr(marker, str(column.key))
        beyond = column < value if descending else column > value
        after_id = FLAVORS.c.id < marker.id if descending else FLAVORS.c.id > marker.id
        statement = statement.where(or_(beyond, and_(column == value, after_id)))
    order = [c.desc() if descending else c.asc() for c in (column, FLAVORS.c.id)]
    return [_from_row(row) for row in tx.all(statement.order_by(*order).limit(limit))]


def _conditions(wanted: FlavorFilter) -> list[Any]:
    where: list[Any] = [FLAVORS.c.ram_mib >= wanted.min_ram_mib, FLAVORS.c.root_gib >= wanted.min_root_gib]
    if wanted.name is not None:
        where.append(FLAVORS.c.name == wanted.name)
    if wanted.is_public is not None:
        where.append(FLAVORS.c.is_public == wanted.is_public)
    if wanted.project_id is not None:
        mine = select(ACCESS.c.flavor_id).where(ACCESS.c.project_id == wanted.project_id)
        where.append(or_(FLAVORS.c.is_public, FLAVORS.c.id.in_(mine)))
    return where


# -- access --------------------------------------------------------------------------------------------------------


def access(tx: Tx, flavor_id: str) -> list[str]:
    """Projects that may use a private flavor."""
    rows = tx.all(select(ACCESS.c.project_id).where(ACCESS.c.flavor_id == flavor_id).order_by(ACCESS.c.project_id))
    return [row.project_id for row in rows]


def add_access(tx: Tx, flavor_id: str, project_id: str) -> None:
    """Let a project use a private flavor; the caller has seen that it may not yet."""
    tx.execute(ACCESS.insert().values(flavor_id=flavor_id, project_id=project_id))


def remove_access(tx: Tx, flavor_id: str, project_id: str) -> bool:
    """Take that back. False when it was not given."""
    gone = tx.execute(delete(ACCESS).where(ACCESS.c.flavor_id == flavor_id, ACCESS.c.project_id == project_id))
    return gone.rowcount > 0
