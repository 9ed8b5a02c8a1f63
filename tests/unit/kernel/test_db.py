"""Transactions are whole, durable, serial, and retried; on SQLite as on MariaDB."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, Text, func, select, update

from engines.mariadb import MariaDB
from pileus.kernel.context import Context, current, enter, leave
from pileus.kernel.db import Database, Json, Tx, UtcDateTime

METADATA = MetaData()
THINGS = Table(
    "things", METADATA, Column("id", String(8), primary_key=True), Column("n", Integer), Column("at", UtcDateTime),
    Column("extra", Json), Column("note", Text),
)


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/x.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.url("unit_db")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url, name="x")
    made.create_all(METADATA)
    yield made
    made.close()


def add(tx: Tx, key: str, n: int = 0) -> None:
    tx.execute(THINGS.insert().values(id=key, n=n))


def count_up(tx: Tx, key: str) -> None:
    n = tx.scalar(select(THINGS.c.n).where(THINGS.c.id == key))
    tx.execute(update(THINGS).where(THINGS.c.id == key).values(n=n + 1))


async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    def half(tx: Tx) -> None:
        add(tx, "a")
        raise KeyError("stop")

    with pytest.raises(KeyError):
        await database.write(half)
    assert await database.read(lambda tx: tx.all(select(THINGS))) == []


async def test_concurrent_read_modify_writes_lose_nothing(database: Database) -> None:
    await database.write(add, "a")
    await asyncio.gather(*(database.write(count_up, "a") for _ in range(200)))
    assert await database.read(lambda tx: tx.scalar(select(THINGS.c.n))) == 200


def _count_in_another_process(url: str, times: int) -> None:
    other = Database(url, name="other")
    for _ in range(times):
        other.run(count_up, "a")
    other.close()


async def test_other_processes_writing_the_same_database_lose_nothing_either(database: Database, url: str) -> None:
    await database.write(add, "a")
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_count_in_another_process, args=(url, 100)) for _ in range(3)]
    for process in others:
        process.start()
    mine = 0
    while any(process.is_alive() for process in others):
        await database.write(count_up, "a")
        mine += 1
    for process in others:
        process.join()
        assert process.exitcode == 0
    assert await database.read(lambda tx: tx.scalar(select(THINGS.c.n))) == mine + 300


async def test_a_reader_sees_one_state_from_its_first_statement_to_its_last(database: Database) -> None:
    await database.write(add, "a")
    looked, changed = threading.Event(), threading.Event()

    def look_twice(tx: Tx) -> tuple[int, int]:
        first = tx.scalar(select(THINGS.c.n))
        looked.set()
        assert changed.wait(60)
        return first, tx.scalar(select(THINGS.c.n))

    reading = asyncio.create_task(database.read(look_twice))
    assert await asyncio.to_thread(looked.wait, 60)
    await database.write(count_up, "a")
    changed.set()
    assert await reading == (0, 0)
    assert await database.read(lambda tx: tx.scalar(select(THINGS.c.n))) == 1


async def test_a_transaction_that_was_begun_to_read_cannot_write(database: Database) -> None:
    with pytest.raises(TypeError):
        await database.read(add, "a")


async def test_who_meets_a_name_that_was_taken_meanwhile_looks_again(database: Database) -> None:
    runs = []

    def add_unless_there(tx: Tx) -> str:
        runs.append(tx)
        seen = len(runs) > 1 and tx.scalar(select(THINGS.c.id).where(THINGS.c.id == "a"))  # too early the first time
        if seen:
            return "taken"
        add(tx, "a")
        return "added"

    await database.write(add, "a")
    assert await database.write(add_unless_there) == "taken"
    assert len(runs) == 2


async def test_text_is_compared_exactly(database: Database) -> None:
    names = ["a", "A", "a ", "á", "ß", "ss", "😀", "😁"]
    for name in names:
        await database.write(add, name)
    for name in names:
        called = select(THINGS.c.id).where(THINGS.c.id == name)
        assert await database.read(lambda tx, called=called: tx.all(called)) == [(name,)]
    in_order = await database.read(lambda tx: [row.id for row in tx.all(select(THINGS.c.id).order_by(THINGS.c.id))])
    assert in_order == sorted(names)


async def test_sums_are_whole_numbers(database: Database) -> None:
    await database.write(add, "a", 2)
    await database.write(add, "b", 3)
    total = await database.read(lambda tx: tx.scalar(select(func.sum(THINGS.c.n))))
    assert (total, type(total)) == (5, int)


async def test_long_text_fits(database: Database) -> None:
    extra = {"text": "é" * 200_000}
    await database.write(lambda tx: tx.execute(THINGS.insert().values(id="a", extra=extra, note="é" * 200_000)))
    row = await database.read(lambda tx: tx.first(select(THINGS)))
    assert row is not None
    assert (row.extra, len(row.note)) == (extra, 200_000)


async def test_after_commit_is_called_in_the_loop_and_only_after_a_commit(database: Database) -> None:
    rung: list[asyncio.AbstractEventLoop] = []

    def ring(tx: Tx, fail: bool) -> None:
        tx.after_commit(lambda: rung.append(asyncio.get_running_loop()))
        if fail:
            raise KeyError

    with pytest.raises(KeyError):
        await database.write(ring, True)
    assert rung == []
    await database.write(ring, False)
    assert rung == [asyncio.get_running_loop()]


async def test_times_and_json_come_back_as_they_were(database: Database) -> None:
    at = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    extra = {"a": [1, None, "é"]}
    await database.write(lambda tx: tx.execute(THINGS.insert().values(id="a", at=at, extra=extra)))
    row = await database.read(lambda tx: tx.first(select(THINGS)))
    assert row is not None
    assert (row.at, row.extra) == (at, extra)
    later = select(THINGS.c.id).where(THINGS.c.at < at + timedelta(microseconds=1))
    assert await database.read(lambda tx: tx.scalar(later)) == "a"


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    Database.sqlite(tmp_path / "x.sqlite", name="x").close()
    assert (tmp_path / "x.sqlite").stat().st_mode & 0o077 == 0


async def test_a_transaction_knows_who_asks(database: Database) -> None:
    token = enter(Context(request_id="req-1"))
    try:
        assert await database.write(lambda tx: current().request_id) == "req-1"
        assert await database.read(lambda tx: current().request_id) == "req-1"
    finally:
        leave(token)
