"""Rows arrive in MariaDB exactly as they were in SQLite, of every table of every service; also in two goes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.types import TypeEngine

from engines.mariadb import MariaDB
from pileus.kernel.config import ConfigError
from pileus.kernel.db import Database, Json, UtcDateTime, migrations, move
from pileus.kernel.db.move import Copying, NotEmpty, NotEqual
from pileus.kernel.observe import store
from pileus.kernel.process import Service
from pileus.services import discover

WITH_DATABASE = [service for service in discover() if service.db]

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
ODD = ["", " ", "a ", "A", "a", "ä", "a\u0308", "𝒳 🌩", "\x00", "'\"\\%s\n", "NULL", "{}", "\u200d"]
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5,
)  # fmt: skip


def values_of(kind: TypeEngine[Any]) -> st.SearchStrategy[Any]:
    """What a column of a type may hold."""
    match kind:
        case UtcDateTime():
            return TIMES
        case Json():
            return JSON.filter(lambda value: value is not None)
        case Boolean():
            return st.booleans()
        case Float():
            return st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
        case Integer():
            bits = 63 if "BIG" in kind.compile() else 31
            return st.integers(-(2**bits), 2**bits - 1)
        case LargeBinary():
            return st.binary(max_size=50)
        case String() | Text():
            return (st.sampled_from(ODD) | TEXTS).map(lambda value: value[: kind.length or 12])
    raise AssertionError(kind)


def rows_of(table: Table, draw: st.DataObject) -> list[dict[str, Any]]:
    """Rows with what is hard to carry; keys and unique values are made to differ."""
    columns = [(column, values_of(column.type)) for column in table.columns]
    unique = {column.name for column in table.columns if column.unique or column.primary_key}
    for constraint in [*table.constraints, *table.indexes]:
        if getattr(constraint, "unique", False) or type(constraint).__name__ == "UniqueConstraint":
            unique |= {column.name for column in constraint.columns}
    made = []
    for number in range(draw.draw(st.integers(0, 6))):
        row = {}
        for column, values in columns:
            nullable = column.nullable and not column.primary_key
            value = draw.draw(st.none() | values if nullable else values)
            if column.name in unique and value is not None:
                value = _distinct(column, value, number)
            row[column.name] = value
        made.append(row)
    return made


def _distinct(column: Column[Any], value: Any, number: int) -> Any:
    if isinstance(value, str):
        return f"{number}{value}"[: getattr(column.type, "length", None) or 12]
    if isinstance(value, datetime):
        return value.replace(microsecond=number)
    return number if isinstance(value, int) and not isinstance(value, bool) else value


class Pair:
    """A file and a schema with the same tables."""

    def __init__(self, directory: Path, mariadb: MariaDB, package: str | None, metadata: MetaData) -> None:
        name = f"move_{uuid.uuid4().hex[:10]}"
        self.source = Database.sqlite(directory / f"{name}.sqlite", name="source")
        self.target = Database(mariadb.url(name), name="target")
        self.tables = metadata.sorted_tables
        for database in (self.source, self.target):
            if package is None:
                database.create_all(metadata)
            else:
                migrations.upgrade(database, package)
        self._drop = lambda: mariadb.drop(name)

    def fill(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        with self._unchecked() as connection:
            if rows:
                connection.execute(insert(table), list(rows))

    def empty(self) -> None:
        with self._unchecked() as connection:
            for table in self.tables:
                connection.execute(delete(table))

    @contextmanager
    def _unchecked(self) -> Iterator[Connection]:
        """A transaction in which rows may refer to rows that are not there."""
        with self.source.engine.connect() as connection:
            connection.connection.dbapi_connection.execute("PRAGMA foreign_keys=OFF")
            with connection.begin():
                yield connection
            connection.connection.dbapi_connection.execute("PRAGMA foreign_keys=ON")

    def read(self, database: Database, table: Table) -> list[tuple[Any, ...]]:
        """As the services read it."""
        found = database.run(lambda tx: tx.all(select(table)))
        return sorted((tuple(row) for row in found), key=repr)

    def close(self) -> None:
        self.source.close()
        self.target.close()
        self._drop()


def _pair_of(service: Service | None, directory: Path, mariadb: MariaDB) -> Pair:
    metadata = store.METADATA if service is None else service.metadata()
    assert metadata is not None
    return Pair(directory, mariadb, None if service is None else service.db, metadata)


@pytest.fixture
def pair(tmp_path: Path, mariadb: MariaDB) -> Iterator[Pair]:
    """Tables of this file's own."""
    made = Pair(tmp_path, mariadb, None, METADATA)
    yield made
    made.close()


METADATA = MetaData()
ITEMS = Table(
    "items", METADATA, Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False, unique=True), Column("blob", LargeBinary), Column("ratio", Float),
)  # fmt: skip


@pytest.mark.parametrize(
    "service", [*WITH_DATABASE, None], ids=lambda service: "trace" if service is None else service.type
)
def test_what_a_service_reads_is_the_same_after_a_move(
    service: Service | None, tmp_path: Path, mariadb: MariaDB
) -> None:
    pair = _pair_of(service, tmp_path, mariadb)

    # One copying for all examples: each is also the second go after the one before it.
    copying = Copying(pair.source, pair.target, pair.tables)

    # Examples are large and a copy takes its time: making a failing one smaller would take many minutes.
    @settings(
        max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
    )
    @given(st.data())
    def carry(draw: st.DataObject) -> None:
        pair.empty()
        for table in pair.tables:
            pair.fill(table, rows_of(table, draw))
        copying.bring_over()
        copying.compare()
        for table in pair.tables:
            assert pair.read(pair.source, table) == pair.read(pair.target, table), table.name

    try:
        carry()
    finally:
        pair.close()


def test_a_second_go_carries_changes_removals_and_exchanged_names(pair: Pair) -> None:
    pair.fill(ITEMS, [{"id": n, "name": f"n{n}", "blob": bytes([n]), "ratio": n / 3} for n in range(6)])
    copying = Copying(pair.source, pair.target, pair.tables)
    assert (copying.bring_over().changed, copying.bring_over().changed) == (6, 0)

    def change(tx: Any) -> None:
        tx.execute(update(ITEMS).where(ITEMS.c.id == 1).values(name="aside"))
        tx.execute(update(ITEMS).where(ITEMS.c.id == 2).values(name="n1"))
        tx.execute(update(ITEMS).where(ITEMS.c.id == 1).values(name="n2"))
        tx.execute(delete(ITEMS).where(ITEMS.c.id == 3))
        tx.execute(insert(ITEMS).values(name="n3"))
        tx.execute(update(ITEMS).where(ITEMS.c.id == 4).values(blob=None))

    pair.source.run(change)
    assert copying.bring_over().changed == 5
    copying.compare()
    assert pair.read(pair.source, ITEMS) == pair.read(pair.target, ITEMS)
    pair.target.run(lambda tx: tx.execute(insert(ITEMS).values(name="next")))
    assert pair.target.run(lambda tx: tx.scalar(select(ITEMS.c.id).where(ITEMS.c.name == "next"))) == 7


def test_an_attempt_that_was_cut_short_is_gone_on_with(pair: Pair) -> None:
    pair.fill(ITEMS, [{"id": n, "name": f"n{n}"} for n in range(6)])
    Copying(pair.source, pair.target, pair.tables).bring_over()
    pair.source.run(lambda tx: tx.execute(update(ITEMS).where(ITEMS.c.id == 1).values(name="other")))
    again = Copying(pair.source, pair.target, pair.tables)
    assert again.bring_over().changed == 1
    again.compare()


def test_of_traces_only_the_new_ones_are_looked_at_again(pair: Pair) -> None:
    pair.fill(ITEMS, [{"id": n, "name": f"n{n}"} for n in range(6)])
    copying = Copying(pair.source, pair.target, pair.tables, grows=frozenset({"items"}))
    copying.bring_over()
    copying.compare()
    pair.source.run(lambda tx: tx.execute(delete(ITEMS).where(ITEMS.c.id < 2)))  # pruned meanwhile
    pair.fill(ITEMS, [{"id": 6, "name": "n6"}])
    assert copying.bring_over().changed == 1
    copying.compare()
    assert len(pair.read(pair.target, ITEMS)) == 7


def test_a_difference_is_found(pair: Pair) -> None:
    pair.fill(ITEMS, [{"id": n, "name": f"n{n}"} for n in range(6)])
    copying = Copying(pair.source, pair.target, pair.tables)
    copying.bring_over()
    pair.target.run(lambda tx: tx.execute(update(ITEMS).where(ITEMS.c.id == 1).values(blob=b"")))
    with pytest.raises(NotEqual, match="items of source: 6 rows in the old database, 6 in the new one, 1 of them"):
        copying.compare()


def test_a_row_that_went_after_it_was_compared_is_found(pair: Pair) -> None:
    pair.fill(ITEMS, [{"id": n, "name": f"n{n}"} for n in range(6)])
    copying = Copying(pair.source, pair.target, pair.tables)
    copying.bring_over()
    copying.compare()
    pair.target.run(lambda tx: tx.execute(delete(ITEMS).where(ITEMS.c.id == 1)))
    with pytest.raises(NotEqual, match="6 rows in the old database, 5 in the new one"):
        copying.compare()


def test_a_value_that_does_not_fit_is_named(pair: Pair) -> None:
    pair.fill(ITEMS, [{"id": 1, "name": "x" * 65}])  # SQLite does not count
    with pytest.raises(ConfigError, match=r"table items of source cannot be copied: .*'name'"):
        Copying(pair.source, pair.target, pair.tables).bring_over()
    assert pair.read(pair.target, ITEMS) == []


def test_a_schema_is_claimed_once(pair: Pair, mariadb: MariaDB) -> None:
    with pytest.raises(NotEmpty, match="is not empty"):
        move.claim(pair.target, "a" * 32, "it")
    name = f"move_{uuid.uuid4().hex[:10]}"
    database = Database(mariadb.url(name), name="claimed")
    database.backend.wait_until_ready()
    move.claim(database, "a" * 32, "it")
    database.create_all(METADATA)
    move.claim(database, "a" * 32, "it")
    with pytest.raises(NotEmpty, match="belongs to another move"):
        move.claim(database, "b" * 32, "it")
    move.release(database)
    assert not move.is_claimed(database)
    with pytest.raises(NotEmpty):
        move.claim(database, "a" * 32, "it")
    assert database.run(lambda tx: tx.scalar(text("SELECT COUNT(*) FROM items"))) == 0
    database.close()
    mariadb.drop(name)
