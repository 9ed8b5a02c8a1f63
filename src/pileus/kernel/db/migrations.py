"""Schema migrations: one Alembic history per service, run once, skipped without importing Alembic when current."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from pileus.kernel.db.database import Database

REVISION_FILE = re.compile(r"^(\d{4})_\w+\.py$")


def head_revision(package: str) -> str:
    """The newest revision in `<package>/migrations/`: files are named `0001_what.py`, revision ids are the numbers."""
    names = (match for entry in _folder(package).iterdir() if (match := REVISION_FILE.match(entry.name)))
    return max(match.group(1) for match in names)


def current_revision(database: Database) -> str | None:
    """What the database says it is at; None for an empty one."""
    return database.look(lambda tx: _revision(tx.connection))


def upgrade(database: Database, package: str) -> bool:
    """Bring the schema to head. `package` is the dotted name of the service's `db` package. True if it changed.

    Several processes may do so at the same time: one does it, the others wait and find it done. Where schema changes
    are no part of a transaction, one that was cut short is taken up again: see `revise`.
    """
    database.backend.wait_until_ready()
    head = head_revision(package)
    if current_revision(database) == head:
        return False
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    folder = _folder(package)
    script = ScriptDirectory(str(folder.parent), version_locations=[str(folder)])

    def change(connection: Connection) -> bool:
        if _revision(connection) == head:  # somebody was faster
            return False

        def steps(revision, _context):
            return script._upgrade_revs("head", revision)

        context = MigrationContext.configure(connection, opts={"fn": steps})
        with Operations.context(context):
            context.run_migrations()
        return True

    return database.change_schema(change)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _folder(package: str) -> Path:
    return Path(str(importlib.resources.files(package))) / "migrations"
