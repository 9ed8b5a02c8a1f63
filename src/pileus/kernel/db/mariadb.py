"""MariaDB: the same promises as SQLite over the network. Why it is done so: docs/decisions/0004-mariadb.md.

Writers of one database take turns, as they do with SQLite: the first statement of every write transaction changes the
one row that all of them change. What a transaction reads after that nobody changes before it commits. The same
statement leaves the transaction's number in a row of this process, by which it is known, after a connection broke
during COMMIT, whether the transaction stands.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions
from sqlalchemy import (
    TIMESTAMP,
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    MetaData,
    NullPool,
    String,
    Table,
    Text,
    create_engine,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

from pileus.kernel.config import ConfigError
from pileus.kernel.db import mariadb_server
from pileus.kernel.db.backend import DatabaseUnavailable, Verdict

POOL_CONNECTIONS = 4
POOL_WAIT_S = 10
CONNECTION_LIFE_S = 1_800
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 30
LOCK_TIMEOUT_S = 5
IDLE_IN_TRANSACTION_S = 20
"""The server ends the session of a process that stands still, or is cut off, with its turn taken."""
ANSWER_MARGIN_S = 15
COMMIT_CHECK_S = 30.0
COMMIT_CHECK_PAUSE_S = 0.2
MIGRATION_WAIT_S = 300
MIGRATION_STATEMENT_S = 3_600
WRITER_LIFE_H = 24

VERDICTS: dict[int | None, Verdict] = {
    1205: Verdict.PASSES,  # lock wait timeout
    1213: Verdict.PASSES,  # deadlock; in a cluster: another node was faster
    1020: Verdict.PASSES,  # a row has changed since this transaction read it
    1047: Verdict.PASSES,  # the node has no quorum now
    1040: Verdict.PASSES,  # too many connections
    1053: Verdict.PASSES,  # server is shutting down
    1927: Verdict.PASSES,  # connection was killed
    2002: Verdict.PASSES,  # cannot connect: socket
    2003: Verdict.PASSES,  # cannot connect: port
    2006: Verdict.PASSES,  # server has gone away
    2013: Verdict.PASSES,  # connection lost
    1062: Verdict.DUPLICATE,
    1264: Verdict.UNFIT,  # out of range
    1366: Verdict.UNFIT,  # not a text of this character set
    1406: Verdict.UNFIT,  # too long
    1139: Verdict.UNFIT,  # not a regular expression as this engine reads them
    1021: Verdict.NO_ROOM,  # disk full
    1114: Verdict.NO_ROOM,  # table full: how a full disk looks to a tablespace
    1969: Verdict.OVERDUE,  # max_statement_time
}

ISOLATION = "REPEATABLE READ"
SESSION = (
    "SET SESSION innodb_snapshot_isolation=ON, "
    "sql_mode='TRADITIONAL,NO_ENGINE_SUBSTITUTION', time_zone='+00:00', lock_wait_timeout={lock}, "
    "innodb_lock_wait_timeout={lock}, idle_transaction_timeout={idle}, max_statement_time={statement}"
)

TURNS = Table(
    "pileus_turns", MetaData(),
    Column("name", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("at", TIMESTAMP, nullable=False, server_default=text("CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP")),
    mysql_engine="InnoDB",
)
_TAKE_TURN = text(
    "INSERT INTO pileus_turns (name, number) VALUES ('turn', 1), (:writer, :number) "
    "ON DUPLICATE KEY UPDATE number = IF(name = 'turn', number + 1, VALUES(number))"
)
_WAIT_FOR_TURN = text("SELECT number FROM pileus_turns WHERE name = 'turn' FOR UPDATE")
_FORGET_WRITERS = text("DELETE FROM pileus_turns WHERE name != 'turn' AND at < NOW() - INTERVAL :hours HOUR")


@compiles(Text, "mysql", "mariadb")
def _medium_text(_type: Text, _compiler: Any, **_options: Any) -> str:
    """TEXT ends at 64 KiB here, and counts bytes; what fits into SQLite has to fit."""
    return "MEDIUMTEXT"


class MariaDBBackend:
    """See `Backend`."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Nothing to reset, and no ping: a transaction on a connection that has gone is run again as a whole.
        self.engine = create_engine(
            _url(url),
            pool_size=POOL_CONNECTIONS, max_overflow=0, pool_timeout=POOL_WAIT_S, pool_recycle=CONNECTION_LIFE_S,
            pool_reset_on_return=None, isolation_level=ISOLATION,
            connect_args=_arguments(STATEMENT_TIMEOUT_S, LOCK_TIMEOUT_S, IDLE_IN_TRANSACTION_S),
        )
        self._writer = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._number = 0

    def wait_until_ready(self) -> None:
        """See `Backend`."""
        engine = self._patient_engine()
        mariadb_server.wait_until_usable(engine, engine.url)
        with engine.connect() as connection, connection.begin():
            if not inspect(connection).has_table(TURNS.name):
                connection.execute(CreateTable(TURNS, if_not_exists=True))
            connection.execute(_WAIT_FOR_TURN)
            connection.execute(_FORGET_WRITERS, {"hours": WRITER_LIFE_H})

    def connect(self, *, write: bool) -> Connection:
        """Readers and writers use the same sessions: a snapshot from their first statement on."""
        return self.engine.connect()

    def take_turn(self, connection: Connection) -> None:
        """See `Backend`."""
        self._number = next(self._numbers)
        connection.execute(_TAKE_TURN, {"writer": self._writer, "number": self._number})

    def commit_stands(self) -> bool:
        """The row is locked until the broken session has ended, whichever way; then it says which way it was."""
        deadline = time.monotonic() + COMMIT_CHECK_S
        while True:
            try:
                return self._number_in_database() == self._number
            except DBAPIError as error:
                if self.verdict(error) is not Verdict.PASSES or time.monotonic() > deadline:
                    raise DatabaseUnavailable(
                        "The database does not answer. Whether the request was accepted is not known; look before you "
                        "ask again.", detail=str(error),
                    ) from error
            time.sleep(COMMIT_CHECK_PAUSE_S)

    def verdict(self, error: DBAPIError) -> Verdict:
        """See `Backend`. Nothing of a transaction whose connection broke before COMMIT stays: it is run again."""
        if error.connection_invalidated or isinstance(error, InterfaceError):
            return Verdict.PASSES
        return VERDICTS.get(_code(error), Verdict.BROKEN)

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Schema changes commit by themselves here; a named lock of the server, not a transaction, keeps others out."""
        engine = self._patient_engine()
        try:
            with engine.connect() as connection:
                mariadb_server.lock_schema(connection, MIGRATION_WAIT_S)
                connection.commit()
                with connection.begin():
                    yield connection
        finally:
            engine.dispose()  # ends the session, and with it the named lock

    def close(self) -> None:
        """See `Backend`."""
        self.engine.dispose()

    def _patient_engine(self) -> Engine:
        arguments = _arguments(MIGRATION_STATEMENT_S, MIGRATION_WAIT_S, 0)
        return create_engine(_url(self.url), poolclass=NullPool, connect_args=arguments)

    def _number_in_database(self) -> int | None:
        with self.engine.connect() as connection, connection.begin():
            # In a cluster: not before everything is applied that any node had accepted.
            connection.execute(text("SET SESSION wsrep_sync_wait = 15"))
            mine = text("SELECT number FROM pileus_turns WHERE name = :writer FOR UPDATE")
            number = connection.execute(mine, {"writer": self._writer}).scalar()
            connection.execute(text("SET SESSION wsrep_sync_wait = DEFAULT"))
            return number


def _arguments(statement_s: int, lock_s: int, idle_s: int) -> dict[str, Any]:
    # Longer than the server lets a statement run: only a server that is gone, or hangs, gets there.
    answer_s = statement_s + ANSWER_MARGIN_S
    return {
        "charset": mariadb_server.CHARACTER_SET, "collation": mariadb_server.COLLATION,
        "connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": answer_s, "write_timeout": answer_s,
        "conv": conversions | dict.fromkeys((FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL), _number),
        "init_command": SESSION.format(lock=lock_s, idle=idle_s, statement=statement_s),
    }


def _url(text_of_it: str) -> URL:
    try:
        url = make_url(text_of_it)
    except (ArgumentError, ValueError) as error:
        raise ConfigError("[database] a URL is written mysql+pymysql://user:password@host:port/schema") from error
    if not url.database:
        raise ConfigError(f"[database] the URL of a database on {url.host} does not name its schema")
    return url


def _number(digits: str) -> int | float:
    """SUM of whole numbers comes as a decimal; as with SQLite it shall be a whole number."""
    return float(digits) if "." in digits else int(digits)


def _code(error: DBAPIError) -> int | None:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None
