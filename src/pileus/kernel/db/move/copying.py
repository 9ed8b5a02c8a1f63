"""Makes the tables of one database equal to those of another, in two goes: the first while the source is in use, which
takes as long as there is data, the second when nobody writes any more, which takes as long as there are changes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from pileus.kernel.config import ConfigError
from pileus.kernel.db.database import Database
from pileus.kernel.db.move.rows import UNMASKED, Key, Row, TableRows, digest


class NotEqual(RuntimeError):
    """After copying, the target does not hold what the source holds."""


class Outcome(msgspec.Struct, frozen=True):
    """What one go did. rows: there are now. changed: were written or removed."""

    rows: int
    changed: int


class Copying:
    """One service's tables. grows: names of tables whose rows are only added, with a growing number as key, and whose
    oldest may be missing or be too many: of them the second go looks at the new ones only."""

    def __init__(
        self, source: Database, target: Database, tables: Sequence[Table], *, grows: frozenset[str] = frozenset()
    ) -> None:
        self.name = source.name
        self._source = source
        self._target = target
        self._tables = [TableRows(table) for table in tables]
        self._grows = grows
        self._known: dict[str, dict[Key, bytes]] = {}
        self._compared_to: dict[str, Key] = {}
        self._equal: set[str] = set()

    def bring_over(self) -> Outcome:
        """Make the target as the source is at this moment. The first time, see what an earlier attempt left there.

        All of the service in one transaction: killed in between, it has not happened. Raises ConfigError when a value
        does not fit.
        """
        changed = 0
        if not self._known:
            self._known = {rows.name: self._digests(rows) for rows in self._tables}
        with (
            self._source.backend.connect(write=False) as source, source.begin(),
            self._target.backend.migrating() as target,
        ):
            target.exec_driver_sql(UNMASKED)
            for rows in self._tables:
                try:
                    changed += self._table(rows, source, target)
                except DBAPIError as error:
                    raise ConfigError(f"table {rows.name} of {self.name} cannot be copied: {error.orig}") from error
        return Outcome(sum(map(len, self._known.values())), changed)

    def compare(self) -> None:
        """Read the target back: number and content of its rows must be those of the source. Raises NotEqual.

        Of a table that was equal and has not changed since, on either side by what we know, the number.
        """
        for rows in self._tables:
            if rows.name in self._equal:
                self._compare_number(rows)
                continue
            after = self._compared_to.get(rows.name)
            found, known = self._digests(rows, after=after), self._known[rows.name]
            if after is not None:
                known = {key: value for key, value in known.items() if key > after}
            if found != known:
                different = sum(found.get(key) != value for key, value in known.items())
                raise NotEqual(
                    f"table {rows.name} of {self.name}: {len(known)} rows in the old database, {len(found)} in the new "
                    f"one, {different} of them missing or different"
                )
            if rows.name in self._grows and known:
                self._compared_to[rows.name] = max(known)
            self._equal.add(rows.name)

    def _compare_number(self, rows: TableRows) -> None:
        with self._target.backend.connect(write=False) as connection, connection.begin():
            found = rows.count(connection)
        if found != len(self._known[rows.name]):
            raise NotEqual(
                f"table {rows.name} of {self.name}: {len(self._known[rows.name])} rows in the old database, {found} in "
                "the new one"
            )

    def _digests(self, rows: TableRows, *, after: Key | None = None) -> dict[Key, bytes]:
        with self._target.backend.connect(write=False) as connection, connection.begin():
            parts = rows.read(connection, after=after)
            return {rows.key(row): digest(row) for part in parts for row in part}

    def _table(self, rows: TableRows, source: Connection, target: Connection) -> int:
        """Write what is new or changed, remove what has gone; returns how many."""
        known = self._known[rows.name]
        is_first, changed = not known, 0
        tail = max(known) if known and rows.name in self._grows else None
        gone = set() if tail is not None else set(known)
        for part in rows.read(source, after=tail):
            news: list[Row] = []
            for row in part:
                key, content = rows.key(row), digest(row)
                gone.discard(key)
                if known.get(key) != content:
                    known[key] = content
                    news.append(row)
            # A first copy inserts: two rows that are one to the new engine must not replace each other.
            rows.write(target, news, replace=not is_first)
            changed += len(news)
        rows.delete(target, sorted(gone))
        for key in gone:
            del known[key]
        if changed or gone:
            self._equal.discard(rows.name)
        return changed + len(gone)
