"""A move writes only into a schema that was empty when it came, or that an earlier attempt of the same move has begun
to fill: a table with the move's number says so."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, String, Table, inspect, select
from sqlalchemy.schema import CreateTable, DropTable

from pileus.kernel.config import ConfigError
from pileus.kernel.db.database import Database

OWN = frozenset({"pileus_turns"})
"""What any look at a schema makes there."""
CLAIM = Table(
    "pileus_move", MetaData(), Column("number", String(32), primary_key=True), mysql_engine="InnoDB",
)


class NotEmpty(ConfigError):
    """The schema has tables that this move has not made."""


def claim(database: Database, move: str, where: str) -> None:
    """Mark a schema as this move's. where: names it to people. Raises NotEmpty."""
    with database.backend.migrating() as connection:
        tables = set(inspect(connection).get_table_names()) - OWN
        if CLAIM.name in tables:
            owners = set(connection.execute(select(CLAIM.c.number)).scalars())
            if owners - {move}:
                raise NotEmpty(f"[database] {where} belongs to another move; empty it, or name another schema")
            if owners:
                return
        if tables - {CLAIM.name}:
            raise NotEmpty(f"[database] {where} is not empty; a service needs a schema of its own, empty at first")
        connection.execute(CreateTable(CLAIM, if_not_exists=True))
        connection.execute(CLAIM.insert().values(number=move))


def is_claimed(database: Database) -> bool:
    """Whether a move has not ended here."""
    with database.engine.connect() as connection:
        return inspect(connection).has_table(CLAIM.name)


def release(database: Database) -> None:
    """The move is over: nothing may be copied here again."""
    with database.backend.migrating() as connection:
        connection.execute(DropTable(CLAIM, if_exists=True))
