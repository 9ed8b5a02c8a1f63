"""MariaDB: the same promises as SQLite over the network. Why it is done so: docs/decisions/0004-mariadb.md.

Writers of one database take turns, as they do with SQLite: the first statement of every write transaction changes the
one row that all of them change. What a transaction reads after that nobody changes before it commits. The same
statement leaves the transaction's number in a row of this process, by which it is known, after a connection broke
during COMMIT, whether the transaction stands.

Nothing here knows whether the server is one or a Galera cluster, nor to which member a connection leads; all of it is
right when every connection leads to another one.
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
    ExceptionContext,
    Float,
    MetaData,
    NullPool,
    String,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateTable

from pileus.kernel.config import ConfigError
from pileus.kernel.db import mariadb_lease, mariadb_server
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
READY_WAIT_S = 60.0
READY_PAUSE_S = 0.25
WRITER_LIFE_H = 24
REFUSED_CERTIFICATION = 1213

VERDICTS: dict[int | None, Verdict] = {
    1205: Verdict.PASSES,  # lock wait timeout; in a cluster also: what other members have written is not here yet
    1213: Verdict.PASSES,  # deadlock; in a cluster: another member was faster
    1020: Verdict.PASSES,  # a row has changed since this transaction read it
    1180: Verdict.PASSES,  # the cluster lost its majority during COMMIT
    1317: Verdict.PASSES,  # interrupted: how another member's transaction may end one of ours
    1412: Verdict.PASSES,  # the table's definition has changed: a newer release migrates
    1158: Verdict.PASSES,  # 1158 to 1161: the network, as the server sees it
    1159: Verdict.PASSES,
    1160: Verdict.PASSES,
    1161: Verdict.PASSES,
    1927: Verdict.PASSES,  # connection was killed
    2006: Verdict.PASSES,  # server has gone away
    2013: Verdict.PASSES,  # connection lost
    2014: Verdict.PASSES,  # answers are out of step with questions
    1040: Verdict.AWAY,  # too many connections
    1203: Verdict.AWAY,  # too many connections of this user
    1047: Verdict.AWAY,  # the member has no majority, or not all data yet
    1053: Verdict.AWAY,  # server is shutting down
    1129: Verdict.AWAY,  # this host had too many broken connections
    1290: Verdict.AWAY,  # it is read-only now
    1836: Verdict.AWAY,  # likewise
    2002: Verdict.AWAY,  # cannot connect: socket
    2003: Verdict.AWAY,  # cannot connect: port
    1062: Verdict.DUPLICATE,
    1264: Verdict.UNFIT,  # out of range
    1366: Verdict.UNFIT,  # not a text of this character set
    1406: Verdict.UNFIT,  # too long
    1139: Verdict.UNFIT,  # not a regular expression as this engine reads them
    1021: Verdict.NO_ROOM,  # disk full
    1114: Verdict.NO_ROOM,  # table full: how a full disk looks to a tablespace
    1969: Verdict.OVERDUE,  # max_statement_time
}

LEAVE = frozenset({1047, 1053, 1180, 1290, 1836, 1927, 2014})
"""The connections of the pool lead to a member that is of no use now; new ones may lead to another."""

ISOLATION = "REPEATABLE READ"
SESSION = (
    "SET SESSION innodb_snapshot_isolation=ON, "
    "sql_mode='TRADITIONAL,NO_ENGINE_SUBSTITUTION', time_zone='+00:00', lock_wait_timeout={lock}, "
    "innodb_lock_wait_timeout={lock}, idle_transaction_timeout={idle}, max_statement_time={statement}, "
    # In a cluster a transaction's first statement (1 read + 2 update + 4 insert) waits until all is here that any
    # member accepted before it. A member to which a proxy has just moved would be behind otherwise.
    "wsrep_sync_wait=7"
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
_TAKE_TURN_FOR_NOTHING = text(
    "INSERT INTO pileus_turns (name, number) VALUES ('turn', 1) ON DUPLICATE KEY UPDATE number = number + 1"
)
_MY_NUMBER = text("SELECT number FROM pileus_turns WHERE name = :writer FOR UPDATE")
_FORGET_WRITERS = text(
    "DELETE FROM pileus_turns WHERE name NOT IN ('turn', 'schema') AND at < NOW() - INTERVAL :hours HOUR"
)


@compiles(Text, "mysql", "mariadb")
def _medium_text(_type: Text, _compiler: Any, **_options: Any) -> str:
    """TEXT ends at 64 KiB here, and counts bytes; what fits into SQLite has to fit."""
    return "MEDIUMTEXT"


@compiles(Float, "mysql", "mariadb")
def _double(_type: Float[Any], _compiler: Any, **_options: Any) -> str:
    """FLOAT holds seven digits here; SQLite's numbers, and Python's, have sixteen."""
    return "DOUBLE"


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
        event.listen(self.engine, "handle_error", _leave_a_useless_member)
        self._writer = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._number = 0

    def wait_until_ready(self) -> None:
        """See `Backend`."""
        engine = self._patient_engine()
        mariadb_server.wait_until_usable(engine, engine.url)
        deadline = time.monotonic() + READY_WAIT_S
        while True:
            try:
                self._make_turns(engine)
                return
            except DBAPIError as error:
                if self.verdict(error) not in (Verdict.PASSES, Verdict.AWAY) or time.monotonic() > deadline:
                    place = mariadb_server.where(engine.url)
                    raise ConfigError(f"[database] {place} cannot be used: {error.orig}") from error
            time.sleep(READY_PAUSE_S)

    @staticmethod
    def _make_turns(engine: Engine) -> None:
        with engine.connect() as connection, connection.begin():
            if not inspect(connection).has_table(TURNS.name):
                connection.execute(CreateTable(TURNS, if_not_exists=True))
            connection.execute(_TAKE_TURN_FOR_NOTHING)
            connection.execute(_FORGET_WRITERS, {"hours": WRITER_LIFE_H})

    def connect(self, *, write: bool) -> Connection:
        """Readers and writers use the same sessions: a snapshot from their first statement on."""
        return self.engine.connect()

    def take_turn(self, connection: Connection) -> None:
        """See `Backend`."""
        self._number = next(self._numbers)
        connection.execute(_TAKE_TURN, {"writer": self._writer, "number": self._number})

    def commit_stands(self, error: DBAPIError) -> bool:
        """Looks the number up in a transaction that takes a turn itself, on whichever member.

        On the same server it waits for the broken session's end. On another one nothing waits: there the COMMIT may
        still be under way. But both change the row of the turn, so once this one has committed without having seen the
        other, the other is refused by every member.
        """
        if _code(error) == REFUSED_CERTIFICATION:
            return False
        deadline = time.monotonic() + COMMIT_CHECK_S
        while True:
            try:
                return self._number_in_database() == self._number
            except DBAPIError as failure:
                useless = self.verdict(failure) not in (Verdict.PASSES, Verdict.AWAY)
                if useless or time.monotonic() > deadline:
                    raise DatabaseUnavailable(
                        "The database does not answer. Whether the request was accepted is not known; look before you "
                        "ask again.", detail=str(failure),
                    ) from failure
            time.sleep(COMMIT_CHECK_PAUSE_S)

    def verdict(self, error: DBAPIError) -> Verdict:
        """See `Backend`. Nothing of a transaction whose connection broke before COMMIT stays: it is run again."""
        known = VERDICTS.get(_code(error))
        if known is None and (error.connection_invalidated or isinstance(error, InterfaceError)):
            return Verdict.PASSES
        return known or Verdict.BROKEN

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Schema changes commit by themselves here: no transaction keeps others out, but a lock of the server's, or in
        a cluster, whose members know nothing of each other's locks, a lease in a row."""
        engine = self._patient_engine()
        try:
            with mariadb_lease.schema_lock(engine, self.verdict, MIGRATION_WAIT_S) as connection, connection.begin():
                yield connection
        finally:
            engine.dispose()

    def close(self) -> None:
        """See `Backend`."""
        self.engine.dispose()

    def _patient_engine(self) -> Engine:
        arguments = _arguments(MIGRATION_STATEMENT_S, MIGRATION_WAIT_S, 0)
        return create_engine(_url(self.url), poolclass=NullPool, connect_args=arguments)

    def _number_in_database(self) -> int | None:
        with self.engine.connect() as connection, connection.begin():
            connection.execute(_TAKE_TURN_FOR_NOTHING)
            return connection.execute(_MY_NUMBER, {"writer": self._writer}).scalar()


def _leave_a_useless_member(context: ExceptionContext) -> None:
    arguments = getattr(context.original_exception, "args", ())
    if arguments and arguments[0] in LEAVE:
        context.is_disconnect = True  # which empties the pool


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
