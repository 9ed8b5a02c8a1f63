"""Filters, order and pages that all of identity's lists share."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Row, Select, Table, func

from pileus.kernel.db import Tx

COMPARISONS = frozenset(
    {"exact", "contains", "startswith", "endswith", "icontains", "istartswith", "iendswith", "iexact"}
)

S = TypeVar("S", bound=msgspec.Struct)


class Filter(msgspec.Struct, frozen=True):
    """One condition on a column. comparison: one of `COMPARISONS`; those with `i` ignore case."""

    field: str
    value: Any
    comparison: str = "exact"

    def clause(self, table: Table) -> ColumnElement[bool]:
        """As SQL."""
        column: Any = table.c[self.field]
        value: Any = self.value
        kind = self.comparison
        if kind.startswith("i"):
            column, value, kind = func.lower(column), value.lower(), kind[1:]
        if kind == "contains":
            return func.instr(column, value) > 0
        if kind == "startswith":
            return func.substr(column, 1, len(value)) == value
        if kind == "endswith":
            return func.substr(column, -len(value)) == value if value else column == column
        return column == value


class Window(msgspec.Struct, frozen=True):
    """One page of a list ordered by id: at most `limit` items after `marker`."""

    limit: int
    marker: str | None = None


def narrowed(query: Select[Any], table: Table, filters: tuple[Filter, ...]) -> Select[Any]:
    """The query with all filters."""
    for item in filters:
        query = query.where(item.clause(table))
    return query


def page(tx: Tx, query: Select[Any], table: Table, window: Window) -> list[Row[Any]]:
    """The rows of one page, and one more when there is a next page."""
    if window.marker is not None:
        query = query.where(table.c.id > window.marker)
    return tx.all(query.order_by(table.c.id).limit(window.limit + 1))


def as_struct(kind: type[S], row: Row[Any]) -> S:
    """A row as the struct whose fields are named as its columns; further columns are left out."""
    columns = row._mapping
    return kind(**{name: columns[name] for name in kind.__struct_fields__})
