"""One service's database: runs whole transactions, in threads, retried when the engine says so.

A transaction is a plain function `fn(tx, …)`. It cannot await, so no remote call can hide in it, and it may be run
more than once: it must have no effect besides the database and what it hands to `tx.after_commit`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, MetaData, Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.sql import Executable

from pileus.kernel.config import ConfigError
from pileus.kernel.context import Clock
from pileus.kernel.db.backend import Backend, DatabaseUnavailable, Verdict
from pileus.kernel.db.sqlite import SqliteBackend
from pileus.kernel.errors import BadRequest

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

TRANSACTION_ATTEMPTS = 60
RETRY_FOR_S = 20.0
SCHEMA_RETRY_FOR_S = 120.0
SCHEMA_RETRY_PAUSE_S = 1.0
FIRST_BACKOFF_S = 0.01
LONGEST_BACKOFF_S = 0.5
DUPLICATE_ATTEMPTS = 2
READ_THREADS = 2
MARIADB_SCHEMES = ("mysql+pymysql://", "mariadb+pymysql://")
NO_ROOM = "The disk of the cloud's database is full; nothing can be changed until there is room."

_readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="db-read")


class _NoConnectionError(Exception):
    """No connection could be had. reason: the driver's error."""

    def __init__(self, reason: DBAPIError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Outage:
    """Since when the server cannot be used, as all transactions of a process have seen it. Times are monotonic, s."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._seen = 0.0

    def seen(self, now: float) -> float:
        """Note that it cannot be used now; since when. One that nobody has looked at for long is a new one."""
        if self._since is None or now > self._seen + RETRY_FOR_S:
            self._since = now
        self._seen = now
        return self._since

    def ended(self) -> None:
        """Note that it can be used."""
        self._since = None


class Tx:
    """An open transaction. `reads_only`: it has not waited for its turn and must not write."""

    def __init__(self, connection: Connection, clock: Clock, *, reads_only: bool = False) -> None:
        self.connection = connection
        self.clock = clock
        self.reads_only = reads_only
        self._after_commit: list[Callable[[], None]] = []

    def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run one SQLAlchemy Core statement."""
        if self.reads_only and statement.is_dml:
            raise TypeError("a transaction that was begun to read cannot write")
        return self.connection.execute(statement, parameters)

    def first(self, statement: Executable, parameters: Any = None) -> Row[Any] | None:
        """The first row, or None."""
        return self.execute(statement, parameters).first()

    def all(self, statement: Executable, parameters: Any = None) -> list[Row[Any]]:
        """All rows. Put a limit on the statement."""
        return list(self.execute(statement, parameters).all())

    def scalar(self, statement: Executable, parameters: Any = None) -> Any:
        """The first column of the first row, or None."""
        return self.execute(statement, parameters).scalar()

    def now(self):
        """The clock's present; the same source as everywhere."""
        return self.clock.now()

    def after_commit(self, call: Callable[[], None]) -> None:
        """Have `call` made in the event loop once the transaction is on disk (doorbells, cache drops)."""
        self._after_commit.append(call)


class Database:
    """Runs transactions of one service. Writes go through one thread, so a process never meets its own lock."""

    def __init__(self, url: str, *, name: str, clock: Clock | None = None) -> None:
        self.name = name
        self.url = url
        self.clock = clock or Clock()
        self.backend = _backend(url)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"db-write-{name}")
        self._writing = threading.Lock()
        self._away = Outage()

    @classmethod
    def sqlite(cls, path: Path, *, name: str, clock: Clock | None = None) -> Database:
        """A database in one file, made when it is missing, readable by its owner only."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600, exist_ok=True)
        return cls(f"sqlite:///{path}", name=name, clock=clock)

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine."""
        return self.backend.engine

    async def read(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a transaction that only reads: all of it sees one state of the database."""
        loop = asyncio.get_running_loop()
        here = contextvars.copy_context()  # who asks, for the transaction as well
        result, _ = await loop.run_in_executor(_readers, lambda: here.run(self._run, fn, False, args, kwargs))
        return result

    async def write(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a transaction that writes; when this returns it is on disk. No other writes at the same time."""
        loop = asyncio.get_running_loop()
        here = contextvars.copy_context()
        result, calls = await loop.run_in_executor(self._writer, lambda: here.run(self._run, fn, True, args, kwargs))
        for call in calls:
            call()
        return result

    def run(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a transaction here and now, outside any event loop (start-up, operator's commands)."""
        result, calls = self._run(fn, True, args, kwargs)
        for call in calls:
            call()
        return result

    def look(self, fn: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a transaction that only reads here and now, outside any event loop."""
        return self._run(fn, False, args, kwargs)[0]

    def create_all(self, metadata: MetaData) -> None:
        """Make all tables that are missing. For what may be lost, and for tests; services migrate."""
        self.backend.wait_until_ready()
        self.change_schema(metadata.create_all)

    def change_schema(self, change: Callable[[Connection], R]) -> R:
        """Run `change` while no other process changes the schema. It may run more than once, and be cut short."""
        deadline = time.monotonic() + SCHEMA_RETRY_FOR_S
        while True:
            try:
                with self.backend.migrating() as connection:
                    return change(connection)
            except DBAPIError as error:
                if self.backend.verdict(error) not in (Verdict.PASSES, Verdict.AWAY) or time.monotonic() > deadline:
                    raise
                log.warning("%s: a change of the schema is taken up again: %s", self.name, error.orig)
            except DatabaseUnavailable as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("%s: a change of the schema is taken up again: %s", self.name, error)
            time.sleep(SCHEMA_RETRY_PAUSE_S)

    def close(self) -> None:
        """Wait for the running transaction and close all connections."""
        self._writer.shutdown(wait=True)
        self.backend.close()

    def _run(
        self, fn: Callable[..., R], write: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[R, list[Callable[[], None]]]:
        """The whole transaction again, in bounds, while that may help."""
        once = self._write_once if write else self._read_once
        began = time.monotonic()
        for attempt in range(1, TRANSACTION_ATTEMPTS + 1):
            try:
                done = once(fn, args, kwargs)
                self._away.ended()
                return done
            except PoolTimeout as error:
                raise DatabaseUnavailable("The database is too busy.", detail=str(error)) from error
            except _NoConnectionError as error:
                self._raise_unless_worth_retrying(error.reason, attempt, began, connected=False)
            except DBAPIError as error:
                self._raise_unless_worth_retrying(error, attempt, began, connected=True)
            backoff_s = min(FIRST_BACKOFF_S * 2 ** (attempt - 1), LONGEST_BACKOFF_S)
            time.sleep(backoff_s * (0.5 + random.random()))
        raise AssertionError("unreachable")

    def _connect(self, *, write: bool) -> Connection:
        try:
            return self.backend.connect(write=write)
        except DBAPIError as error:
            raise _NoConnectionError(error) from error

    def _read_once(
        self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[R, list[Callable[[], None]]]:
        with self._connect(write=False) as connection, connection.begin():
            return fn(Tx(connection, self.clock, reads_only=True), *args, **kwargs), []

    def _write_once(
        self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[R, list[Callable[[], None]]]:
        with self._writing, self._connect(write=True) as connection, connection.begin() as transaction:
            self.backend.take_turn(connection)
            tx = Tx(connection, self.clock)
            result = fn(tx, *args, **kwargs)
            try:
                transaction.commit()
            except DBAPIError as error:
                # Running it again is right only if it did not happen: it may have made ids of its own.
                if not self.backend.commit_stands(error):
                    raise
                log.warning("%s: the connection broke during a commit; it stands", self.name)
            return result, tx._after_commit

    def _raise_unless_worth_retrying(self, error: DBAPIError, attempt: int, began: float, *, connected: bool) -> None:
        detail = f"{self.name}: {error.orig}"
        verdict = self.backend.verdict(error)
        if verdict is Verdict.PASSES and not connected:
            verdict = Verdict.AWAY
        now = time.monotonic()
        match verdict:
            case Verdict.PASSES | Verdict.AWAY:
                # Others may have found out before how long the server has been away; those that queued up behind them
                # do not wait as long again. A lost connection or a conflict says nothing of that: the next attempt may
                # find the server well, so only the transaction's own time counts.
                since = self._away.seen(now) if verdict is Verdict.AWAY else began
                late = now > min(since, began) + RETRY_FOR_S
                if (late and attempt > 1) or attempt == TRANSACTION_ATTEMPTS:
                    raise DatabaseUnavailable("The database does not answer in time.", detail=detail) from error
            case Verdict.DUPLICATE:
                # Somebody was faster between the look and the insert: seen now, it becomes the handler's own answer.
                if attempt >= DUPLICATE_ATTEMPTS:
                    raise error
            case Verdict.UNFIT:
                raise BadRequest("A value is too long, too large, or not understood.", detail=detail) from error
            case Verdict.NO_ROOM:
                raise DatabaseUnavailable(NO_ROOM, detail=detail) from error
            case Verdict.OVERDUE:
                raise DatabaseUnavailable("The database took too long to answer.", detail=detail) from error
            case Verdict.BROKEN:
                raise error


def _backend(url: str) -> Backend:
    if url.startswith("sqlite:"):
        return SqliteBackend(url)
    if not url.startswith(MARIADB_SCHEMES):
        scheme = url.split(":", 1)[0]
        raise ConfigError(f"[database] a URL begins with mysql+pymysql:// or sqlite:///, not with {scheme!r}")
    from pileus.kernel.db.mariadb import MariaDBBackend  # its driver is not loaded where nobody uses it

    return MariaDBBackend(url)
