"""SQLite: one file, one writer at a time by its own lock, commits on disk when they return."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from pileus.kernel.db.backend import Verdict

BUSY_MS = 5_000
MIGRATION_BUSY_MS = 60_000
LOCKED_PAUSE_S = 0.01
CACHE_KIB = 512
_VERDICTS = {
    "SQLITE_CONSTRAINT_UNIQUE": Verdict.DUPLICATE,
    "SQLITE_CONSTRAINT_PRIMARYKEY": Verdict.DUPLICATE,
    "SQLITE_FULL": Verdict.NO_ROOM,
    "SQLITE_IOERR_SHMSIZE": Verdict.NO_ROOM,  # a file beside the database cannot grow
}


class SqliteBackend:
    """See `Backend`."""

    def __init__(self, url: str) -> None:
        self.engine = _make_engine(url)

    def wait_until_ready(self) -> None:
        """A file is always there."""

    def connect(self, *, write: bool) -> Connection:
        """A writer's BEGIN takes the lock at once: a later upgrade from reader to writer could not be retried."""
        connection = self.engine.connect()
        connection.info["begin"] = "BEGIN IMMEDIATE" if write else "BEGIN"
        return connection

    def take_turn(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE has done so."""

    def commit_stands(self, error: DBAPIError) -> bool:
        """A COMMIT that failed in this process did not happen."""
        return False

    def verdict(self, error: DBAPIError) -> Verdict:
        """Only waiting for another process's lock passes."""
        if isinstance(error, OperationalError) and "database is locked" in str(error.orig):
            return Verdict.PASSES
        return _VERDICTS.get(getattr(error.orig, "sqlite_errorname", ""), Verdict.BROKEN)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Schema changes are part of the transaction here, and its lock is the lock."""
        with self.connect(write=True) as connection:
            connection.connection.dbapi_connection.execute(f"PRAGMA busy_timeout={MIGRATION_BUSY_MS}")  # type: ignore[union-attr]
            with connection.begin():
                yield connection
            connection.connection.dbapi_connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")  # type: ignore[union-attr]

    def close(self) -> None:
        """See `Backend`."""
        self.engine.dispose()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Use a write-ahead log. SQLite does not wait when another process makes the same change at this moment."""
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(LOCKED_PAUSE_S)


def _make_engine(url: str) -> Engine:
    # Nothing to reset: every transaction has been ended when its connection goes back.
    arguments = {"check_same_thread": False, "timeout": BUSY_MS / 1000}
    engine = create_engine(url, connect_args=arguments, pool_reset_on_return=None)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # this module emits BEGIN itself
        cursor = connection.cursor()
        _write_ahead(cursor)
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            f"cache_size=-{CACHE_KIB}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        begin = connection.info.get("begin", "BEGIN")
        try:
            connection.connection.dbapi_connection.execute(begin)  # type: ignore[union-attr]
        except sqlite3.OperationalError as error:
            raise OperationalError(begin, None, error) from error

    return engine
