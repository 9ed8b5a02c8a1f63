"""Lists: filters by column, sort keys, pages after a marker, all in one statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Boolean, ColumnElement, Integer, Select, Table, and_, false, func, or_, select

from pileus.kernel.db import Tx

Filter = ColumnElement[Any] | Callable[[list[str]], ColumnElement[bool]]
"""A column that is compared with the given values, or a function from them to a condition."""

TRUE_WORDS = frozenset({"true", "1", "yes", "on", "t", "y"})


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a list request asks for. limit: rows at most. page_reverse: the page before the marker."""

    filters: Mapping[str, list[str]]
    sort: tuple[tuple[str, str], ...]
    limit: int
    marker: str | None = None
    page_reverse: bool = False


class UnknownMarker(Exception):
    """The marker is no row of this list's table."""


def condition(spec: Filter, values: list[str]) -> ColumnElement[bool]:
    """One filter; repeated values mean any of them."""
    if not isinstance(spec, ColumnElement):
        return spec(values)
    if isinstance(spec.type, Boolean):
        return spec.in_([value.strip().lower() in TRUE_WORDS for value in values])
    if isinstance(spec.type, Integer):
        numbers = [int(value) for value in values if value.isascii() and value.isdigit() and len(value) < 19]
        return spec.in_(numbers) if numbers else false()
    empty = or_(spec.is_(None), spec == "") if "" in values else None
    match = spec.in_(values)
    return match if empty is None else or_(match, empty)


def select_page(
    tx: Tx, table: Table, query: ListQuery, filters: Mapping[str, Filter], *scope: ColumnElement[bool]
) -> list[Any]:
    """The rows of one page. Raises `UnknownMarker`."""
    conditions = [condition(filters[name], values) for name, values in query.filters.items()]
    statement = select(table).where(*scope, *conditions)
    keys = [(key, direction) for key, direction in query.sort if key != "id"]
    keys.append(("id", dict(query.sort).get("id", "asc")))
    flip = query.page_reverse
    if query.marker is not None:
        statement = statement.where(_after(tx, table, keys, query.marker, flip))
    for key, direction in keys:
        column = _plain(table.c[key])
        statement = statement.order_by(column.desc() if (direction == "desc") != flip else column.asc())
    rows = tx.all(statement.limit(query.limit))
    return rows[::-1] if flip else rows


def _plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column in which NULL has a place in the order."""
    if not getattr(column, "nullable", False):
        return column
    return func.coalesce(column, -1 if isinstance(column.type, Integer) else "")


def _after(tx: Tx, table: Table, keys: list[tuple[str, str]], marker: str, flip: bool) -> ColumnElement[bool]:
    found: Select[Any] = select(*(_plain(table.c[key]) for key, _ in keys)).where(table.c.id == marker)
    row = tx.first(found)
    if row is None:
        raise UnknownMarker(marker)
    cases = []
    for at, (key, direction) in enumerate(keys):
        equal = [_plain(table.c[name]) == row[i] for i, (name, _) in enumerate(keys[:at])]
        column = _plain(table.c[key])
        further = column < row[at] if (direction == "desc") != flip else column > row[at]
        cases.append(and_(*equal, further))
    return or_(*cases)
