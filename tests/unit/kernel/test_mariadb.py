"""Whatever happens between a process and its MariaDB server: a transaction happens once, or not at all, and in time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, String, Table, Text, func, insert, select, text, update

from engines.mariadb import MariaDB
from engines.proxy import Cut, CuttingProxy
from pileus.kernel.config import ConfigError
from pileus.kernel.db import Database, Tx, mariadb_server, migrations
from pileus.kernel.db import mariadb as engine_ways
from pileus.kernel.errors import BadRequest, Unavailable

METADATA = MetaData()
ORDERS = Table("orders", METADATA, Column("id", String(36), primary_key=True), Column("what", Text, nullable=False))
SCHEMA = "unit_mariadb"
WAIT_S = 60
spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def url(mariadb: MariaDB) -> str:
    return mariadb.url(SCHEMA)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url, name="orders")
    made.create_all(METADATA)
    yield made
    made.close()


def order(tx: Tx, what: str) -> str:
    """Makes its id itself: run twice, it would be two orders."""
    order_id = str(uuid.uuid4())
    tx.execute(insert(ORDERS).values(id=order_id, what=what))
    return order_id


def orders(database: Database) -> list[str]:
    return [row.id for row in database.run(lambda tx: tx.all(select(ORDERS)))]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_order_whose_commit_lost_its_connection_is_placed_once(
    mariadb: MariaDB, database: Database, when: Cut
) -> None:
    with CuttingProxy(mariadb.port) as proxy:
        far = Database(database.url.replace(f":{mariadb.port}/", f":{proxy.port}/"), name="far")
        rung: list[str] = []
        runs: list[str] = []

        def order_and_ring(tx: Tx) -> str:
            runs.append("run")
            tx.after_commit(lambda: rung.append("rung"))
            return order(tx, when)

        first = far.run(order, "the first; opening a connection commits as well")
        proxy.cut_next(when)
        order_id = await far.write(order_and_ring)
        far.close()
    assert proxy.cuts == 1
    assert sorted(orders(database)) == sorted([first, order_id])
    assert rung == ["rung"]
    assert len(runs) == {"before": 2, "after": 1}[when]


def test_nobody_is_told_that_it_is_done_when_nobody_can_know(
    mariadb: MariaDB, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_ways, "COMMIT_CHECK_S", 0.5)
    with CuttingProxy(mariadb.port) as proxy:
        far = Database(database.url.replace(f":{mariadb.port}/", f":{proxy.port}/"), name="far")
        far.run(order, "the first")
        proxy.cut_next("after")
        proxy.refuse()
        with pytest.raises(Unavailable, match="not known"):
            far.run(order, "the second")
        far.close()
    assert len(orders(database)) == 2


def test_a_connection_that_breaks_within_a_transaction_costs_a_repetition(mariadb: MariaDB, database: Database) -> None:
    runs: list[int] = []

    def order_twice(tx: Tx) -> None:
        order(tx, "first half")
        if not runs:
            mariadb.execute(f"KILL {tx.scalar(select(func.connection_id()))}")
        runs.append(1)
        order(tx, "second half")

    database.run(order_twice)
    assert len(runs) == 2
    assert len(orders(database)) == 2


def test_idle_connections_that_the_server_closed_are_not_noticed(mariadb: MariaDB, database: Database) -> None:
    database.run(order, "a")
    for (connection,) in mariadb.execute(f"SELECT id FROM information_schema.processlist WHERE db = '{SCHEMA}'"):
        mariadb.execute(f"KILL {connection}")
    database.run(order, "b")
    assert len(orders(database)) == 2


def test_the_loser_of_a_deadlock_runs_again(database: Database) -> None:
    for name in ("left", "right"):
        database.run(lambda tx, name=name: tx.execute(insert(ORDERS).values(id=name, what="")))
    ours_has_left, runs = threading.Event(), []

    def ours(tx: Tx) -> None:
        runs.append(1)
        tx.execute(update(ORDERS).where(ORDERS.c.id == "left").values(what="ours"))
        ours_has_left.set()
        tx.execute(update(ORDERS).where(ORDERS.c.id == "right").values(what="ours"))

    with ThreadPoolExecutor(1) as pool, database.engine.connect() as other, other.begin():
        # It has changed more rows than ours, so the server lets it win.
        other.execute(insert(ORDERS), [{"id": str(n), "what": ""} for n in range(50)])
        other.execute(update(ORDERS).where(ORDERS.c.id == "right").values(what="theirs"))
        done = pool.submit(database.run, ours)
        assert ours_has_left.wait(WAIT_S)
        other.execute(update(ORDERS).where(ORDERS.c.id == "left").values(what="theirs"))
        other.commit()
        done.result(WAIT_S)
    assert len(runs) >= 2
    whats = database.run(lambda tx: tx.all(select(ORDERS.c.what).where(ORDERS.c.id.in_(("left", "right")))))
    assert [row.what for row in whats] == ["ours", "ours"]


def test_a_row_that_changed_after_it_was_read_is_read_again(database: Database) -> None:
    """Only somebody who takes no turn can do that: an operator's client."""
    database.run(lambda tx: tx.execute(insert(ORDERS).values(id="n", what="1")))
    runs = []

    def double(tx: Tx) -> None:
        n = int(tx.scalar(select(ORDERS.c.what)))
        if not runs:
            with database.engine.connect() as other, other.begin():
                other.execute(update(ORDERS).values(what="100"))
        runs.append(1)
        tx.execute(update(ORDERS).values(what=str(2 * n)))

    database.run(double)
    assert database.run(lambda tx: tx.scalar(select(ORDERS.c.what))) == "200"
    assert len(runs) == 2


def _order_and_stand_still(url: str, has_turn: Event) -> None:
    engine_ways.IDLE_IN_TRANSACTION_S = 1

    def fn(tx: Tx) -> str:
        found = order(tx, "of the one that stood still")
        if not has_turn.is_set():
            has_turn.set()
            os.kill(os.getpid(), signal.SIGSTOP)
        return found

    database = Database(url, name="still")
    database.run(fn)
    database.close()


def test_a_process_that_stands_still_does_not_keep_its_turn(database: Database, url: str) -> None:
    has_turn = spawn.Event()
    process = spawn.Process(target=_order_and_stand_still, args=(url, has_turn))
    process.start()
    try:
        assert has_turn.wait(WAIT_S)
        mine = database.run(order, "of the one that goes on")
        assert orders(database) == [mine]
        assert process.is_alive()
        os.kill(process.pid or 0, signal.SIGCONT)
        process.join(WAIT_S)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join(WAIT_S)
    assert len(orders(database)) == 2


def test_a_server_that_is_killed_and_started_again_loses_and_doubles_nothing() -> None:
    with MariaDB() as server, ThreadPoolExecutor(4) as pool:
        url = server.url(SCHEMA)
        first = Database(url, name="orders")
        first.create_all(METADATA)
        stop = threading.Event()

        def keep_ordering() -> list[str]:
            own, placed = Database(url, name="orders"), []
            while not stop.is_set():
                placed.append(own.run(order, "x"))
            own.close()
            return placed

        busy = [pool.submit(keep_ordering) for _ in range(4)]
        for _ in range(3):
            before = len(orders(first))
            while len(orders(first)) < before + 50:
                pass
            server.kill()
            server.resume()
        stop.set()
        placed = [order_id for future in busy for order_id in future.result(WAIT_S)]
        assert sorted(orders(first)) == sorted(placed)
        first.close()


def test_an_outage_that_is_over_is_not_held_against_who_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pileus.kernel.db.database.RETRY_FOR_S", 1.0)
    with MariaDB() as server:
        database = Database(server.url(SCHEMA), name="orders")
        database.create_all(METADATA)
        server.kill()
        with pytest.raises(Unavailable):
            database.run(order, "while it is away")
        server.resume()
        runs: list[int] = []

        def order_with_bad_luck(tx: Tx) -> str:
            runs.append(1)
            if len(runs) < 4:
                server.execute(f"KILL {tx.scalar(select(func.connection_id()))}")
            return order(tx, "with bad luck")

        database.run(order_with_bad_luck)
        assert len(runs) == 4
        database.close()


def test_who_queued_up_behind_an_outage_does_not_wait_as_long_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pileus.kernel.db.database.RETRY_FOR_S", 2.0)
    with MariaDB() as server:
        database = Database(server.url(SCHEMA), name="orders")
        database.create_all(METADATA)
        server.kill()
        began = time.monotonic()
        for _ in range(10):
            with pytest.raises(Unavailable):
                database.run(order, "while it is away")
        assert time.monotonic() < began + 12.0  # ten times two seconds, if each waited
        database.close()


def test_a_lock_that_somebody_keeps_ends_in_a_clear_answer(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_ways, "LOCK_TIMEOUT_S", 1)
    monkeypatch.setattr("pileus.kernel.db.database.RETRY_FOR_S", 0.5)
    impatient = Database(database.url, name="impatient")
    database.run(lambda tx: tx.execute(insert(ORDERS).values(id="a", what="")))
    with database.engine.connect() as other, other.begin():
        other.execute(update(ORDERS).values(what="kept"))
        with pytest.raises(Unavailable):
            impatient.run(lambda tx: tx.execute(update(ORDERS).values(what="wanted")))
    impatient.run(lambda tx: tx.execute(update(ORDERS).values(what="wanted")))
    impatient.close()


def test_a_statement_without_end_is_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_ways, "STATEMENT_TIMEOUT_S", 1)
    impatient = Database(database.url, name="impatient")
    with pytest.raises(Unavailable):
        impatient.run(lambda tx: tx.scalar(text("SELECT COUNT(*) FROM seq_1_to_1000000000 WHERE seq % 7 = 3")))
    impatient.close()


def test_a_value_that_does_not_fit_is_the_callers_fault(database: Database) -> None:
    with pytest.raises(BadRequest):
        database.run(lambda tx: tx.execute(insert(ORDERS).values(id="x" * 37, what="")))
    database.run(order, "x")
    with pytest.raises(BadRequest):
        database.run(lambda tx: tx.all(select(ORDERS).where(ORDERS.c.what.regexp_match("(?a)x"))))  # Python takes it


# -- start -----------------------------------------------------------------------------------------------------------


def test_the_start_waits_for_a_server_that_comes_late() -> None:
    with MariaDB() as server:
        url = server.url(SCHEMA)
        server.kill()
        database = Database(url, name="x")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(database.backend.wait_until_ready)
            server.resume()
            waiting.result(WAIT_S)
        database.close()


def _refusal(url: str) -> str:
    database = Database(url, name="x")
    with pytest.raises(ConfigError) as refused:
        database.backend.wait_until_ready()
    database.close()
    return str(refused.value)


def test_what_is_wrong_with_the_server_is_said_at_the_start(
    mariadb: MariaDB, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"'{SCHEMA}' on 127.0.0.1:{mariadb.port}"
    mariadb.drop(SCHEMA)
    assert where in _refusal(url)
    assert "Unknown database" in _refusal(url)
    mariadb.url(SCHEMA)
    assert "Access denied" in _refusal(url.replace("root@", "root:wrong@"))
    with monkeypatch.context() as patch:
        patch.setattr(mariadb_server, "OLDEST", (99, 1, 0))
        assert "99.1.0 or newer is needed" in _refusal(url)
    with monkeypatch.context() as patch:
        patch.setattr(mariadb_server, "START_WAIT_S", 0.5)
        assert "refused" in _refusal(url.replace(str(mariadb.port), "1"))


@pytest.mark.parametrize(
    "url", ["postgresql://db/x", "mysql://root@db/x", "/var/lib/db", "mysql+pymysql://root@db", "mysql+pymysql://db:port/x"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"\[database\]"):
        Database(url, name="x")


def test_a_user_with_rights_on_the_schema_alone_is_enough(mariadb: MariaDB, url: str) -> None:
    mariadb.execute("CREATE OR REPLACE USER pileus@'127.0.0.1' IDENTIFIED BY 'secret'")
    mariadb.execute(f"GRANT ALL ON {SCHEMA}.* TO pileus@'127.0.0.1'")
    database = Database(url.replace("root@", "pileus:secret@"), name="x")
    assert migrations.upgrade(database, "pileus.services.placement.db")
    database.create_all(METADATA)
    placed = database.run(order, "x")
    assert orders(database) == [placed]
    database.close()


def test_a_schema_that_compares_otherwise_is_mended_while_it_is_empty_and_refused_later(mariadb: MariaDB) -> None:
    url = mariadb.url(SCHEMA)
    mariadb.execute(f"ALTER DATABASE {SCHEMA} CHARACTER SET latin1 COLLATE latin1_swedish_ci")
    database = Database(url, name="x")
    database.create_all(METADATA)
    database.close()
    collations = mariadb.execute(
        f"SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = '{SCHEMA}' "
        "AND collation_name IS NOT NULL"
    )
    assert collations == [(mariadb_server.COLLATION,)]
    mariadb.execute(f"ALTER DATABASE {SCHEMA} CHARACTER SET latin1 COLLATE latin1_swedish_ci")
    assert "latin1_swedish_ci" in _refusal(url)


def test_the_command_says_it_without_a_traceback(mariadb: MariaDB, tmp_path: Path) -> None:
    mariadb.drop("nowhere")
    config = tmp_path / "pileus.toml"
    address = f"mysql+pymysql://root@127.0.0.1:{mariadb.port}/nowhere"
    config.write_text(f'[node]\nstate_dir = "{tmp_path}/state"\n[database]\nidentity = "{address}"\n')
    command = [sys.executable, "-m", "pileus.cli.main", "run", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert ended.returncode != 0
    assert "Unknown database 'nowhere'" in ended.stderr
    assert "Traceback" not in ended.stderr
