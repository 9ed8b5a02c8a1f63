"""What differs between database engines. `Database` runs transactions; a backend knows its engine's ways."""

from __future__ import annotations

import enum
from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from pileus.kernel.errors import Unavailable


class DatabaseUnavailable(Unavailable):
    """The service's own database could not carry a transaction out: not the transaction's fault, nor its caller's."""


class Verdict(enum.Enum):
    """What an error of an engine means for a transaction."""

    PASSES = "run again from its beginning it may well succeed"
    AWAY = "the server cannot be used now, by anybody; it may come back"
    DUPLICATE = "a unique value is taken"
    UNFIT = "a value does not fit into its column, or is no pattern"
    NO_ROOM = "the disk is full"
    OVERDUE = "a statement took too long"
    BROKEN = "anything else: a mistake in the code or the schema"


class Backend(Protocol):
    """One engine, opened for one service. `Database` lets one write transaction in at a time."""

    engine: Engine

    def wait_until_ready(self) -> None:
        """Wait a bounded time for the server and see that it can be used. Raises ConfigError with a clear text."""
        ...

    def connect(self, *, write: bool) -> Connection:
        """A connection whose next transaction is of that kind."""
        ...

    def take_turn(self, connection: Connection) -> None:
        """First in a write transaction: wait until no other process writes in this database."""
        ...

    def commit_stands(self, error: DBAPIError) -> bool:
        """After a COMMIT that failed so: whether the transaction of the latest turn is in the database all the same.

        When it says no, that is how it stays."""
        ...

    def verdict(self, error: DBAPIError) -> Verdict:
        """What an error of the engine means."""
        ...

    def migrating(self) -> AbstractContextManager[Connection]:
        """A connection in a transaction, for schema changes, while no other process changes the schema.

        Where the engine cannot keep that promise to the end, the next statement raises DatabaseUnavailable."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
