"""A schema is migrated once: by one of many processes, and in the end whole, wherever it was cut short."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event

from engines.mariadb import MariaDB
from pileus.kernel.db import Database, migrations
from pileus.kernel.process import Service
from pileus.services import discover

PACKAGE = "pileus.services.placement.db"
PROCESSES = 4
WAIT_S = 120
WITH_DATABASE = [service for service in discover() if service.db]

NewUrl = Callable[[], str]


@pytest.fixture(params=["sqlite", "mariadb"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """Makes the URL of an empty database."""
    if request.param == "sqlite":
        numbers = itertools.count()
        return lambda: f"sqlite:///{tmp_path}/{next(numbers)}.sqlite"
    server: MariaDB = request.getfixturevalue("mariadb")
    return lambda: server.url("unit_migrations")


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url, name="migrated")
    try:
        yield database
    finally:
        database.close()


def differences(database: Database, service_db: str) -> list[Any]:
    """What the database has that the code has not, and the reverse; tables of the kernel's own aside."""
    metadata = next(service.metadata() for service in WITH_DATABASE if service.db == service_db)
    with database.engine.connect() as connection:
        options = {"compare_type": False, "include_name": lambda name, kind, _parents: name != "pileus_turns"}
        assert metadata is not None
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


@pytest.mark.parametrize("service", WITH_DATABASE, ids=lambda service: service.type)
def test_migrations_make_exactly_the_tables_that_the_code_uses_in_mariadb_too(
    service: Service, mariadb: MariaDB
) -> None:
    assert service.db is not None
    with opened(mariadb.url("unit_migrations")) as database:
        assert migrations.upgrade(database, service.db)
        assert not migrations.upgrade(database, service.db)
        assert differences(database, service.db) == []


def _upgrade(url: str, start: Any, changed: Any) -> None:
    with opened(url) as database:
        start.wait(WAIT_S)
        if migrations.upgrade(database, PACKAGE):
            with changed.get_lock():
                changed.value += 1


def test_processes_that_start_together_migrate_once(new_url: NewUrl) -> None:
    url = new_url()
    spawn = multiprocessing.get_context("spawn")
    start, changed = spawn.Barrier(PROCESSES), spawn.Value("i", 0)
    processes = [spawn.Process(target=_upgrade, args=(url, start, changed)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(WAIT_S)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert changed.value == 1
    with opened(url) as database:
        assert differences(database, PACKAGE) == []


class Cut(BaseException):
    """The end of a process, as seen from within."""


@contextmanager
def cut_at(statement_number: int) -> Iterator[list[str]]:
    """Schema changes end before the one of that number."""
    changes: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.split(maxsplit=1)[0] in ("CREATE", "INSERT") and "pileus_turns" not in statement:
            changes.append(statement)
            if len(changes) == statement_number:
                raise Cut

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield changes
    finally:
        event.remove(Engine, "before_cursor_execute", count)


def test_a_migration_that_was_cut_short_anywhere_is_finished_by_the_next_start(new_url: NewUrl) -> None:
    with opened(new_url()) as database, cut_at(0) as changes:
        migrations.upgrade(database, PACKAGE)
    assert len(changes) > 5
    for number, change in enumerate(list(changes), start=1):
        url = new_url()
        with opened(url) as database, cut_at(number), pytest.raises(Cut):
            migrations.upgrade(database, PACKAGE)
        with opened(url) as database:
            migrations.upgrade(database, PACKAGE)
            assert differences(database, PACKAGE) == [], f"cut before {change}"
