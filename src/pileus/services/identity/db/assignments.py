"""Role assignments: who (user, group) has which role where (project, domain, system)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Index, String, Table, select
from sqlalchemy import delete as sql_delete

from pileus.kernel.db import Tx
from pileus.services.identity.db.filters import as_struct
from pileus.services.identity.db.metadata import METADATA

SYSTEM_ID = "system"

ASSIGNMENTS = Table(
    "assignments",
    METADATA,
    Column("actor_kind", String(8), primary_key=True),
    Column("actor_id", String(64), primary_key=True),
    Column("target_kind", String(8), primary_key=True),
    Column("target_id", String(64), primary_key=True),
    Column("role_id", String(64), primary_key=True),
    Column("inherited", Boolean, primary_key=True),
    Index("ix_assignments_target", "target_id"),
    Index("ix_assignments_actor", "actor_id"),
    Index("ix_assignments_role", "role_id"),
)


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """One grant. actor_kind: user or group. target_kind: project, domain or system (target_id `SYSTEM_ID`).

    inherited: it counts not on the target but on every project below.
    """

    actor_kind: str
    actor_id: str
    target_kind: str
    target_id: str
    role_id: str
    inherited: bool = False


class AssignmentFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions; None means any."""

    actors: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    target_kind: str | None = None
    role_id: str | None = None
    inherited: bool | None = None


def _same(item: Assignment) -> list[Any]:
    return [ASSIGNMENTS.c[name] == getattr(item, name) for name in Assignment.__struct_fields__]


def has(tx: Tx, item: Assignment) -> bool:
    """Whether exactly this grant exists."""
    return tx.first(select(ASSIGNMENTS.c.role_id).where(*_same(item))) is not None


def add(tx: Tx, item: Assignment) -> None:
    """Grant; nothing happens when it is granted."""
    if not has(tx, item):
        tx.execute(ASSIGNMENTS.insert().values(**{n: getattr(item, n) for n in Assignment.__struct_fields__}))


def remove(tx: Tx, item: Assignment) -> bool:
    """Take a grant back; False when there was none."""
    return tx.execute(sql_delete(ASSIGNMENTS).where(*_same(item))).rowcount > 0


def find(tx: Tx, wanted: AssignmentFilter) -> list[Assignment]:
    """All grants that pass the filter."""
    query = select(ASSIGNMENTS)
    if wanted.actors is not None:
        query = query.where(ASSIGNMENTS.c.actor_id.in_(wanted.actors))
    if wanted.targets is not None:
        query = query.where(ASSIGNMENTS.c.target_id.in_(wanted.targets))
    for name in ("target_kind", "role_id", "inherited"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(ASSIGNMENTS.c[name] == value)
    order = [ASSIGNMENTS.c[name] for name in Assignment.__struct_fields__]
    return [as_struct(Assignment, row) for row in tx.all(query.order_by(*order))]


def forget_actors(tx: Tx, ids: Iterable[str]) -> None:
    """Drop all grants to users or groups that are deleted."""
    tx.execute(sql_delete(ASSIGNMENTS).where(ASSIGNMENTS.c.actor_id.in_(list(ids))))


def forget_targets(tx: Tx, ids: Iterable[str]) -> None:
    """Drop all grants on projects or domains that are deleted."""
    tx.execute(sql_delete(ASSIGNMENTS).where(ASSIGNMENTS.c.target_id.in_(list(ids))))


def forget_roles(tx: Tx, ids: Iterable[str]) -> None:
    """Drop all grants of roles that are deleted."""
    tx.execute(sql_delete(ASSIGNMENTS).where(ASSIGNMENTS.c.role_id.in_(list(ids))))
