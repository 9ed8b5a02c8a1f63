"""Who may change a schema: one process at a time.

On one server a named lock is enough; it ends with its session. The members of a Galera cluster know nothing of each
other's locks, so there it is a lease: the number in the row `schema` of `pileus_turns`. Odd: somebody has it. He alone
knows the number and raises it by two while he works. Who sees an odd number stand still for `LEASE_S` by his own clock
may take it. All of that is compare-and-swap, which a cluster decides the same way for all members; no clocks are
compared. A holder that could not renew it in time is stopped before its next statement.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from pileus.kernel.db.backend import DatabaseUnavailable, Verdict

log = logging.getLogger(__name__)

LEASE_S = 20.0
RENEW_S = 3.0
MARGIN_S = 2.0
"""So much before others may take the lease its holder stops."""
POLL_S = 0.25
FREE = 0

Judge = Callable[[DBAPIError], Verdict]

_READ = text("SELECT number FROM pileus_turns WHERE name = 'schema'")
_MAKE = text("INSERT IGNORE INTO pileus_turns (name, number) VALUES ('schema', :free)")
_SWAP = text("UPDATE pileus_turns SET number = :new WHERE name = 'schema' AND number = :old")


@contextmanager
def schema_lock(engine: Engine, judge: Judge, wait_s: float) -> Iterator[Connection]:
    """A connection for schema changes. Raises DatabaseUnavailable when others keep changing it for `wait_s`."""
    with engine.connect() as connection:
        clustered = connection.execute(text("SHOW VARIABLES LIKE 'wsrep_on'")).first()
        if clustered is None or clustered[1] != "ON":
            _take_named_lock(connection, wait_s)
            connection.commit()
            yield connection
            return
        connection.commit()
        lease = Lease(engine, judge)
        lease.take(wait_s)
        try:
            event.listen(connection, "before_cursor_execute", lease.check)
            yield connection
        finally:
            lease.give_back()


class Lease:
    """The lease on one schema. judge: what an error of the engine means."""

    def __init__(self, engine: Engine, judge: Judge) -> None:
        self._engine = engine
        self._judge = judge
        self._number = FREE
        self._ours_until = 0.0
        self._done = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="schema-lease", daemon=True)

    def take(self, wait_s: float) -> None:
        """Wait until it is ours, and keep it from then on. DatabaseUnavailable when that takes longer than `wait_s`."""
        deadline = time.monotonic() + wait_s
        seen, seen_at = FREE, time.monotonic()
        while True:
            number = self._try(self._read)
            if number is not None and number != seen:
                seen, seen_at = number, time.monotonic()
            abandoned = time.monotonic() > seen_at + LEASE_S
            if number is not None and (number % 2 == 0 or abandoned) and self._swap(number, number + 1 + number % 2):
                break
            if time.monotonic() > deadline:
                raise DatabaseUnavailable(f"Another process has been changing the schema for {wait_s} seconds.")
            time.sleep(POLL_S)
        self._renewing.start()

    def check(self, *_statement: Any) -> None:
        """Raise DatabaseUnavailable when somebody else may have it by now."""
        if time.monotonic() > self._ours_until:
            raise DatabaseUnavailable("The right to change the schema was lost: the database did not answer.")

    def give_back(self) -> None:
        """End it. If the server cannot be told, it ends by itself."""
        self._done.set()
        self._renewing.join()
        self._swap(self._number, self._number + 1)

    def _renew(self) -> None:
        while not self._done.wait(RENEW_S):
            self._swap(self._number, self._number + 2)

    def _swap(self, old: int, new: int) -> bool:
        """Whether it is ours, with the new number. One of which we do not know whether it was swapped is lost."""
        before = time.monotonic()
        swapped = self._try(lambda connection: connection.execute(_SWAP, {"old": old, "new": new}).rowcount)
        if swapped != 1:
            return False
        self._number, self._ours_until = new, before + LEASE_S - MARGIN_S
        return True

    @staticmethod
    def _read(connection: Connection) -> int:
        number = connection.execute(_READ).scalar()
        if number is None:
            connection.execute(_MAKE, {"free": FREE})
        return number or FREE

    def _try(self, fn: Callable[[Connection], int]) -> int | None:
        """What a transaction says; None when it failed and may be tried again."""
        try:
            with self._engine.connect() as connection, connection.begin():
                return fn(connection)
        except DBAPIError as error:
            if self._judge(error) not in (Verdict.PASSES, Verdict.AWAY):
                raise
            log.info("the lease on the schema: %s", error.orig)
            return None


def _take_named_lock(connection: Connection, wait_s: float) -> None:
    name = "pileus-schema-" + hashlib.sha256(str(connection.engine.url.database).encode()).hexdigest()[:32]
    if connection.execute(text("SELECT GET_LOCK(:name, :wait_s)"), {"name": name, "wait_s": wait_s}).scalar() != 1:
        raise DatabaseUnavailable(f"Another process has been changing the schema for {wait_s} seconds.")
