"""Developer's tool: write a service's next migration by comparing its tables with what its migrations make.

    python -m pileus.kernel.db.revise identity "add trusts"
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import api as autogenerate
from alembic.migration import MigrationContext
from alembic.operations.ops import CreateIndexOp, CreateTableOp, MigrateOperation

from pileus.kernel.db import Database, migrations

TEMPLATE = '''"""{message}."""

import sqlalchemy as sa
from alembic import op

import pileus.kernel.db.types

revision = "{revision}"
down_revision = {previous!r}


def upgrade() -> None:
    {upgrade}
'''


def revise(service: str, message: str) -> Path:
    """Write `db/migrations/NNNN_message.py` and return its path."""
    package = f"pileus.services.{service}.db"
    module = importlib.import_module(package)
    folder = Path(str(module.__file__)).parent / "migrations"
    folder.mkdir(exist_ok=True)
    numbers = sorted(m.group(1) for f in folder.iterdir() if (m := migrations.REVISION_FILE.match(f.name)))
    previous = numbers[-1] if numbers else None
    revision = f"{int(previous or 0) + 1:04d}"
    with tempfile.TemporaryDirectory() as scratch:
        database = Database.sqlite(Path(scratch) / "db.sqlite", name=service)
        if previous:
            migrations.upgrade(database, package)
        with database.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": False})
            script = autogenerate.produce_migrations(context, module.METADATA)
            assert script.upgrade_ops is not None
            for operation in script.upgrade_ops.ops:
                _make_repeatable(operation)
            body = autogenerate.render_python_code(script.upgrade_ops, migration_context=context)
        database.close()
    path = folder / f"{revision}_{re.sub(r'[^a-z0-9]+', '_', message.lower()).strip('_')}.py"
    path.write_text(TEMPLATE.format(message=message, revision=revision, previous=previous, upgrade=body))
    return path


def _make_repeatable(operation: MigrateOperation) -> None:
    """MariaDB commits each statement by itself: a migration that was cut short must pass over what it has done."""
    if isinstance(operation, CreateTableOp | CreateIndexOp):
        operation.if_not_exists = True
    for inner in getattr(operation, "ops", ()):
        _make_repeatable(inner)


if __name__ == "__main__":
    print(revise(sys.argv[1], sys.argv[2]))
