"""A schema in a Galera cluster is migrated once, whichever members the starting processes talk to, and in the end
whole, whatever dies meanwhile. The members know nothing of each other's locks.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from engines.galera import MEMBERS, WAIT_S, opened, url_at, url_through
from engines.proxy import Switch
from pileus.kernel.db import mariadb_lease, migrations
from pileus.lab.engines.galera import GaleraCluster

pytestmark = pytest.mark.long

PACKAGE = "pileus.services.network.db"
SHORT_LEASE_S, SHORT_RENEW_S = 6.0, 0.5
spawn = multiprocessing.get_context("spawn")


@contextmanager
def listening(call: Callable[..., None]) -> Iterator[None]:
    event.listen(Engine, "before_cursor_execute", call)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", call)


def _upgrade(url: str, start: Any, changed: Any) -> None:
    with opened(url) as database:
        start.wait(WAIT_S)
        if migrations.upgrade(database, PACKAGE):
            with changed.get_lock():
                changed.value += 1


def test_processes_on_three_members_migrate_once(cluster: GaleraCluster, schema: str) -> None:
    start, changed = spawn.Barrier(2 * MEMBERS), spawn.Value("i", 0)
    urls = [url_at(member, schema) for member in cluster.members] * 2
    processes = [spawn.Process(target=_upgrade, args=(url, start, changed)) for url in urls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(WAIT_S)
    assert [process.exitcode for process in processes] == [0] * len(urls)
    assert changed.value == 1
    with opened(urls[1]) as database:
        assert migrations.current_revision(database) == migrations.head_revision(PACKAGE)


def _upgrade_and_stop_half_way(url: str, how: signal.Signals, half: Any) -> None:
    mariadb_lease.LEASE_S, mariadb_lease.RENEW_S = SHORT_LEASE_S, SHORT_RENEW_S
    statements: list[str] = []

    def stop(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)
        if len([one for one in statements if one.lstrip().startswith("CREATE TABLE")]) == 5 and not half.is_set():
            half.set()
            os.kill(os.getpid(), how)

    with opened(url) as database:
        event.listen(Engine, "before_cursor_execute", stop)
        migrations.upgrade(database, PACKAGE)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_migration_whose_process_dies_or_stands_still_is_finished_by_another(
    cluster: GaleraCluster, schema: str, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setattr(mariadb_lease, "LEASE_S", SHORT_LEASE_S)
    monkeypatch.setattr(mariadb_lease, "RENEW_S", SHORT_RENEW_S)
    urls = [url_at(member, schema) for member in cluster.members]
    half = spawn.Event()
    process = spawn.Process(target=_upgrade_and_stop_half_way, args=(urls[0], how, half))
    process.start()
    try:
        assert half.wait(WAIT_S)
        with opened(urls[1]) as database:
            assert migrations.upgrade(database, PACKAGE)
            assert migrations.current_revision(database) == migrations.head_revision(PACKAGE)
        if how is signal.SIGSTOP:
            os.kill(process.pid or 0, signal.SIGCONT)
            process.join(WAIT_S)
            assert process.exitcode == 0  # it noticed that the lease is another's, looked again, and had nothing to do
    finally:
        process.kill()
        process.join(WAIT_S)


def test_a_member_that_dies_during_a_migration_delays_it(cluster: GaleraCluster, schema: str) -> None:
    first, other, _ = cluster.members
    killed: list[str] = []

    def kill(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "CREATE TABLE" in statement and "pileus_turns" not in statement and len(killed) < 3:
            killed.append(statement)
            if len(killed) == 3:
                first.kill()
                switch.turn(other.place.address, other.port)

    with Switch(first.place.address, first.port) as switch, opened(url_through(switch, schema)) as database:
        with listening(kill):
            assert migrations.upgrade(database, PACKAGE)
        assert len(killed) == 3
        assert migrations.current_revision(database) == migrations.head_revision(PACKAGE)
        held = text("SELECT number % 2 FROM pileus_turns WHERE name = 'schema'")
        assert database.run(lambda tx: tx.scalar(held)) == 0
