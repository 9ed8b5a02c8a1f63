"""`pileus db status`: where each database is, and whether it is there, current and how large."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from pileus.cli.db_plan import where_of
from pileus.cli.engines import with_database
from pileus.cli.layout import Layout
from pileus.kernel.config import ConfigError
from pileus.kernel.db import Database, migrations
from pileus.kernel.observe import store
from pileus.kernel.process.databases import SECTION, file_of

SIZE = text("SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = DATABASE()")
VERSION = text("SELECT VERSION()")
FILE_PARTS = ("", "-wal", "-shm")


class Line(msgspec.Struct, frozen=True):
    """One database. is_well: it can be used as it is."""

    name: str
    engine: str
    size_mib: float
    schema: str
    where: str
    is_well: bool = True


def status(layout: Layout) -> int:
    """Print a line for each database; 1 when one cannot be used as it is."""
    lines = [_line(layout, service.type, service.db) for service in with_database(layout)]
    lines.append(_line(layout, store.NAME, None))
    width = max(len(line.name) for line in lines)
    for line in lines:
        mark = "    " if line.is_well else "BAD "
        size = f"{line.size_mib:8.1f} MiB" if line.engine else " " * 12
        print(f"{mark}{line.name:<{width}}  {line.engine:<16} {size}  {line.schema:<24}  {line.where}")
    return 0 if all(line.is_well for line in lines) else 1


def _line(layout: Layout, name: str, package: str | None) -> Line:
    url = layout.tables.get(SECTION, {}).get(name)
    url = url or f"sqlite:///{file_of(layout.node, name)}"
    try:
        if url.startswith("sqlite:"):
            file = Path(url.removeprefix("sqlite:///"))
            if not file.exists():
                return Line(name, "", 0, "not made yet", where_of(url), is_well=package is None)
            size = sum(path.stat().st_size for part in FILE_PARTS if (path := Path(f"{file}{part}")).exists())
            return _looked_at(Database(url, name=name), "SQLite", size, package, where_of(url))
        return _looked_at(Database(url, name=name), "", None, package, where_of(url))
    except DBAPIError as error:
        reason = error.orig.args[-1] if error.orig is not None and error.orig.args else error
        return Line(name, "", 0, "not reachable", f"{where_of(url)}: {reason}", is_well=False)
    except (ConfigError, OSError) as error:
        return Line(name, "", 0, "not usable", f"{where_of(url)}: {error}", is_well=False)


def _looked_at(database: Database, engine: str, size_bytes: int | None, package: str | None, where: str) -> Line:
    with contextlib.closing(database):
        with database.engine.connect() as connection:
            if size_bytes is None:
                engine = str(connection.execute(VERSION).scalar()).split("-")[0]
                engine, size_bytes = f"MariaDB {engine}", int(connection.execute(SIZE).scalar() or 0)
        schema, is_well = "no versions", True
        if package is not None:
            found, head = migrations.current_revision(database), migrations.head_revision(package)
            is_well = found == head
            schema = f"schema {found}" if is_well else f"schema {found or 'none'}, needs {head}"
        return Line(database.name, engine, size_bytes / 2**20, schema, where, is_well)
