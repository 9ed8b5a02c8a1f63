"""One table's rows as the engine holds them: no column type looks at a value on its way, so none can change it.

Both engines hold the same things (whole numbers, doubles, text, bytes, NULL; see `kernel/db/types`), so a row of one is
the row of the other, and equal rows have equal digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Table

BATCH_ROWS = 2_000
BATCH_BYTES = 1_000_000
DIGEST_BYTES = 16
UNMASKED = "SET SESSION foreign_key_checks=0, sql_mode=CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')"
"""Rows come in any order, also those that refer to each other; and a number 0 is a number."""

Row = tuple[Any, ...]
Key = tuple[Any, ...]
_encoder = msgspec.msgpack.Encoder()


class TableRows:
    """Reads and writes one table; a connection decides the engine."""

    def __init__(self, table: Table) -> None:
        names = [column.name for column in table.columns]
        keys = [column.name for column in table.primary_key.columns]
        assert keys, f"table {table.name} has no primary key"
        self.name = table.name
        self._table = table
        self._names = names
        self._keys = keys
        self._places = [names.index(name) for name in keys]

    def key(self, row: Row) -> Key:
        """The row's primary key."""
        return tuple(row[place] for place in self._places)

    def read(self, connection: Connection, *, after: Key | None = None) -> Iterator[Sequence[Row]]:
        """All rows, in batches. after: only those whose key, one number, is greater."""
        quote = connection.dialect.identifier_preparer.quote
        # Constant names of our own tables; the one value is a number.
        text = f"SELECT {', '.join(map(quote, self._names))} FROM {quote(self.name)}"  # noqa: S608
        if after is not None:
            text += f" WHERE {quote(self._keys[0])} > {int(after[0])}"
        found = connection.execution_options(stream_results=True, yield_per=BATCH_ROWS).exec_driver_sql(text)
        for part in found.partitions():
            yield [tuple(row) for row in part]

    def count(self, connection: Connection) -> int:
        """How many rows there are."""
        name = connection.dialect.identifier_preparer.quote(self.name)
        return int(connection.exec_driver_sql(f"SELECT COUNT(*) FROM {name}").scalar() or 0)  # noqa: S608

    def write(self, connection: Connection, rows: Sequence[Row], *, replace: bool) -> None:
        """Insert rows. replace: in place of those that have the same key, or another unique value of theirs."""
        for part in _of_size(rows):
            connection.exec_driver_sql(self._insert(connection, replace), part)

    def delete(self, connection: Connection, keys: Sequence[Key]) -> None:
        """Remove rows by their keys; no other row goes with them."""
        quote = connection.dialect.identifier_preparer.quote
        where = " AND ".join(f"{quote(name)} = %s" for name in self._keys)
        if keys:
            connection.exec_driver_sql(f"DELETE FROM {quote(self.name)} WHERE {where}", list(keys))  # noqa: S608

    def _insert(self, connection: Connection, replace: bool) -> str:
        quote = connection.dialect.identifier_preparer.quote
        columns, places = ", ".join(map(quote, self._names)), ", ".join(["%s"] * len(self._names))
        # The driver makes one statement of many rows out of this form.
        return f"{'REPLACE' if replace else 'INSERT'} INTO {quote(self.name)} ({columns}) VALUES ({places})"  # noqa: S608


def digest(row: Row) -> bytes:
    """Equal for equal rows: type and value of each column count."""
    return hashlib.blake2b(_encoder.encode(row), digest_size=DIGEST_BYTES).digest()


def _of_size(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Parts that fit into a packet of the server, whatever is in the rows."""
    part: list[Row] = []
    size = 0
    for row in rows:
        part.append(row)
        size += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
        if size >= BATCH_BYTES or len(part) >= BATCH_ROWS:
            yield part
            part, size = [], 0
    if part:
        yield part
