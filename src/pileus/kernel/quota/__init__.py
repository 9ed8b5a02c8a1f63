"""Quotas: limits per project, counted from rows in the transaction that adds one. No usage table can drift."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, delete, select

from pileus.kernel.db import Tx

UNLIMITED = -1


class Limited(msgspec.Struct, frozen=True):
    """One row of a service's `quotas.py`: what is limited, its default limit, how it is counted (None: per call)."""

    name: str
    default: int
    count: Callable[[Tx, str], int] | None = None


class Exceeded(msgspec.Struct, frozen=True):
    """One limit that a request would break."""

    name: str
    limit: int
    used: int
    requested: int

    def explain(self, project_id: str) -> str:
        """For operators: which limit, of whom, and by how much."""
        return f"{self.name}: {self.used} of {self.limit} used in project {project_id}, {self.requested} asked"


def quota_table(metadata: MetaData) -> Table:
    """The table of limits that were set for a project; a missing row means the default."""
    return Table(
        "quotas",
        metadata,
        Column("project_id", String(64), primary_key=True),
        Column("resource", String(64), primary_key=True),
        Column("hard_limit", Integer, nullable=False),
    )


class Quotas:
    """The limits of one service."""

    def __init__(self, table: Table, limited: Iterable[Limited], defaults: Mapping[str, int] | None = None) -> None:
        self.table = table
        self._set_for = select(table).where(table.c.project_id == bindparam("the_project"))
        self.limited = {item.name: item for item in limited}
        self.defaults = {name: (defaults or {}).get(name, item.default) for name, item in self.limited.items()}

    def limits(self, tx: Tx, project_id: str) -> dict[str, int]:
        """All limits of a project."""
        rows = tx.all(self._set_for, {"the_project": project_id})
        return self.defaults | {row.resource: row.hard_limit for row in rows if row.resource in self.limited}

    def used(self, tx: Tx, project_id: str, name: str) -> int:
        """How much of one resource the project has now; 0 for limits that are per call."""
        count = self.limited[name].count
        return 0 if count is None else count(tx, project_id)

    def exceeded(self, tx: Tx, project_id: str, wanted: Mapping[str, int]) -> list[Exceeded]:
        """Which limits would be broken by `wanted` more. Call it in the transaction that inserts the rows."""
        limits = self.limits(tx, project_id)
        broken = []
        for name, requested in wanted.items():
            if limits[name] == UNLIMITED or requested <= 0:
                continue
            used = self.used(tx, project_id, name)
            if used + requested > limits[name]:
                broken.append(Exceeded(name, limits[name], used, requested))
        return broken

    def set(self, tx: Tx, project_id: str, values: Mapping[str, int]) -> None:
        """Set limits of a project."""
        for name, value in values.items():
            tx.execute(delete(self.table).where(self.table.c.project_id == project_id, self.table.c.resource == name))
            tx.execute(self.table.insert().values(project_id=project_id, resource=name, hard_limit=value))

    def reset(self, tx: Tx, project_id: str) -> None:
        """Back to the defaults."""
        tx.execute(delete(self.table).where(self.table.c.project_id == project_id))
