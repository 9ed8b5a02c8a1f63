"""What a MariaDB server and a schema in it must be like, seen once at the start."""

from __future__ import annotations

import logging
import re
import time

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from pileus.kernel.config import ConfigError

log = logging.getLogger(__name__)

START_WAIT_S = 60.0
START_PAUSE_S = 0.25
OLDEST = (10, 11, 8)
"""Since this version a transaction cannot overwrite what it has not seen (`innodb_snapshot_isolation`)."""
CHARACTER_SET, COLLATION = "utf8mb4", "utf8mb4_nopad_bin"

ACCESS_DENIED, SCHEMA_DENIED, NO_SCHEMA, UNKNOWN_VARIABLE = 1045, 1044, 1049, 1193
HOPELESS = frozenset({ACCESS_DENIED, SCHEMA_DENIED, NO_SCHEMA, UNKNOWN_VARIABLE, 1698})


def where(url: URL) -> str:
    """A database, in an operator's words."""
    return f"the database {url.database!r} on {url.query.get('unix_socket') or f'{url.host}:{url.port or 3306}'}"


def wait_until_usable(engine: Engine, url: URL) -> None:
    """Wait for the server up to `START_WAIT_S`; raise ConfigError, in an operator's words, when it cannot be used."""
    place = where(url)
    deadline = time.monotonic() + START_WAIT_S
    while True:
        try:
            with engine.connect() as connection:
                _see_server(connection, place)
                _see_schema(connection, place)
            return
        except DBAPIError as error:
            arguments = getattr(error.orig, "args", ())
            code, reason = arguments if len(arguments) == 2 else (None, str(error.orig))
            if code == UNKNOWN_VARIABLE:
                raise ConfigError(_too_old(place, "an older server")) from error
            if code in HOPELESS or time.monotonic() > deadline:
                raise ConfigError(f"[database] {place} cannot be used: {reason}") from error
            log.info("waiting for %s: %s", place, reason)
        time.sleep(START_PAUSE_S)


def _see_server(connection: Connection, where: str) -> None:
    version, flush = connection.execute(text("SELECT VERSION(), @@innodb_flush_log_at_trx_commit")).one()
    numbers = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)-MariaDB", version)
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST:
        raise ConfigError(_too_old(where, version))
    if flush != 1:
        log.warning(
            "%s has innodb_flush_log_at_trx_commit=%s: requests that were accepted can be lost with the power of its "
            "machine; 1 keeps them", where, flush,
        )


def _see_schema(connection: Connection, where: str) -> None:
    found = connection.execute(
        text(
            "SELECT default_character_set_name, default_collation_name, "
            "(SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()) "
            "FROM information_schema.schemata WHERE schema_name = DATABASE()"
        )
    ).one()
    if tuple(found[:2]) == (CHARACTER_SET, COLLATION):
        return
    if found[2]:
        raise ConfigError(
            f"[database] {where} compares text by {found[1]}; names and ids need {COLLATION}. "
            "Give the service a schema of its own, empty at first."
        )
    connection.execute(text(f"ALTER DATABASE CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION}"))


def _too_old(where: str, version: str) -> str:
    return f"[database] {where} is {version}; MariaDB {'.'.join(map(str, OLDEST))} or newer is needed"
