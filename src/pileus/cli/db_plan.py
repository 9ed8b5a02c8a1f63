"""What `pileus db move` has to do: the difference between the configuration a cloud has and the one it shall have."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Table, make_url
from sqlalchemy.exc import ArgumentError

from pileus.cli import layout as layouts
from pileus.cli import run
from pileus.cli.layout import SYSTEM_CONFIG, Layout
from pileus.kernel.config import ConfigError
from pileus.kernel.db import Database, migrations
from pileus.kernel.db.database import MARIADB_SCHEMES
from pileus.kernel.observe import store
from pileus.kernel.process.buses import is_local
from pileus.kernel.process.databases import MOVED_SUFFIX, SECTION, file_of, open_database
from pileus.kernel.process.manifest import Service
from pileus.services import discover

MAY_DIFFER = frozenset({SECTION, "bus", "cache"})


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One database to move. service: None for the traces, which have no migrations."""

    name: str
    service: Service | None
    file: Path
    url: str

    @property
    def tables(self) -> Sequence[Table]:
        """Its tables; what others refer to comes first."""
        metadata = store.METADATA if self.service is None else self.service.metadata()
        assert metadata is not None
        return metadata.sorted_tables

    @property
    def grows(self) -> frozenset[str]:
        """Tables that are only added to."""
        return frozenset({store.HOPS.name}) if self.service is None else frozenset()

    @property
    def where(self) -> str:
        """The new place in words, without its password."""
        return where_of(self.url)

    def open_source(self, layout: Layout) -> Database:
        """The file as it is now, at the schema that this code knows. Raises ConfigError."""
        if self.service is None:
            database = store.open_trace(layout.state_dir, layout.tables.get(SECTION, {}).get(self.name))
            store.make_table(database)
            return database
        if not self.file.exists():
            raise ConfigError(f"there is no database {self.file}: start the cloud once with `pileus up`")
        database = open_database(layout.node, layout.tables, self.service)
        found, head = migrations.current_revision(database), migrations.head_revision(self.service.db or "")
        if found != head:
            database.close()
            raise ConfigError(f"{self.file} is at schema {found}, this code needs {head}: start the cloud once with it")
        return database

    def make_tables(self, target: Database) -> None:
        """Its tables, empty, in the new place. Raises ConfigError when the server cannot be used."""
        if self.service is None:
            store.make_table(target)
        else:
            migrations.upgrade(target, self.service.db or "")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """old, new: the cloud's layouts. content: of the new configuration file. place: where it goes. parts: databases
    that are to be copied. fresh: those that only the new cloud has. is_switched: the new configuration is in force
    already, and only the rest remains."""

    old: Layout
    new: Layout
    content: bytes
    place: Path
    parts: tuple[Part, ...]
    fresh: tuple[Part, ...]
    is_switched: bool

    @property
    def staged(self) -> Path:
        """Where the new configuration is until it takes its place."""
        return self.place.with_name(self.place.name + ".staged")


def plan(old: Layout, wanted: Path, state_dir: str | None) -> Plan:
    """Compare. Raises ConfigError in an operator's words for what a move cannot do."""
    if not wanted.exists():
        raise ConfigError(f"there is no file {wanted}")
    if wanted.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(f"{wanted} can be read by everybody and holds passwords: chmod 600 {wanted}")
    new = layouts.find(str(wanted), state_dir)
    run.refuse_unknown_tables(new)
    place = _place(old)
    if wanted.resolve() == place.resolve():
        raise ConfigError(f"{wanted} is the configuration that is in force; write the new one into another file")
    _refuse_other_changes(old, new)
    new = msgspec.structs.replace(new, config_file=place)
    is_switched = old.tables == new.tables
    parts = tuple(_parts(old, new))
    if not parts and not is_switched and old.tables.get("bus") == new.tables.get("bus"):
        raise ConfigError(f"{wanted} names no database in [{SECTION}] and no other [bus]: there is nothing to move")
    return Plan(
        old=old, new=new, content=wanted.read_bytes(), place=place, parts=parts, fresh=tuple(_fresh(old, new)),
        is_switched=is_switched,
    )  # fmt: skip


def moved_files(layout: Layout) -> list[tuple[Path, Path]]:
    """Files of databases that the configuration has elsewhere: (as they are called, as they shall be called)."""
    names = [service.type for service in discover() if service.db] + [store.NAME]
    files = [file_of(layout.node, name) for name in names if layout.tables.get(SECTION, {}).get(name)]
    return [(file, kept(file)) for file in files if file.exists()]


def kept(path: Path) -> Path:
    """What something of before the move is called after it."""
    return path.with_name(path.name + MOVED_SUFFIX)


def where_of(url: str) -> str:
    """A database in words, without user and password."""
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return "a URL that cannot be understood"
    if parts.get_backend_name() == "sqlite":
        return f"file {parts.database}"
    return f"schema {parts.database!r} on {parts.query.get('unix_socket') or f'{parts.host}:{parts.port or 3306}'}"


def _place(old: Layout) -> Path:
    """Where `pileus up` will look for the new configuration."""
    if old.config_file is not None:
        return old.config_file.resolve()
    if str(old.state_dir) != type(old.node)().state_dir:
        raise ConfigError(
            f"the cloud in {old.state_dir} has no configuration file that the new one could replace: make one that "
            f'says [node] state_dir = "{old.state_dir}", and name it with --config'
        )
    return SYSTEM_CONFIG


def _refuse_other_changes(old: Layout, new: Layout) -> None:
    if "processes" in old.tables:
        raise ConfigError("this host has a table [processes]: a move is for a cloud of one process")
    if old.node != new.node:
        raise ConfigError("[node] must be the same in both configurations: the cloud on this host is known by it")
    for name in sorted((old.tables.keys() | new.tables.keys()) - MAY_DIFFER - {"node"}):
        if old.tables.get(name, {}) != new.tables.get(name, {}):
            allowed = ", ".join(f"[{table}]" for table in sorted(MAY_DIFFER))
            raise ConfigError(f"[{name}] differs; a move changes {allowed} only, so change it before or after")


def _parts(old: Layout, new: Layout) -> list[Part]:
    before, after = old.tables.get(SECTION, {}), new.tables.get(SECTION, {})
    services = [service for service in discover() if service.db]
    names = {*(service.type for service in services), store.NAME}
    if strangers := sorted(after.keys() - names):
        raise ConfigError(f"[{SECTION}] {strangers[0]} is no service; there are {', '.join(sorted(names))}")
    alone = is_local(old.tables)
    known: dict[str, Service | None] = {s.type: s for s in services if s.default_roles(alone=alone)}
    known[store.NAME] = None
    parts = []
    for name, service in known.items():
        if before.get(name) == after.get(name):
            continue
        if not is_file(before.get(name)):
            raise ConfigError(f"[{SECTION}] {name} is in MariaDB already; a move goes from a file to MariaDB")
        if not str(after.get(name, "")).startswith(MARIADB_SCHEMES):
            raise ConfigError(f"[{SECTION}] {name}: a move goes to a URL that begins with {MARIADB_SCHEMES[0]}")
        file = Path(make_url(before[name]).database or "") if before.get(name) else file_of(old.node, name)
        parts.append(Part(name=name, service=service, file=file, url=after[name]))
    _refuse_shared_schemas(after)
    return parts


def _fresh(old: Layout, new: Layout) -> Iterator[Part]:
    """Databases of services that the old cloud does not run and the new one will: with a broker hosts may join."""
    for service in discover():
        was, will = (service.default_roles(alone=is_local(layout.tables)) for layout in (old, new))
        if service.db and will and not was:
            file = file_of(new.node, service.type)
            url = new.tables.get(SECTION, {}).get(service.type) or f"sqlite:///{file}"
            yield Part(name=service.type, service=service, file=file, url=url)


def _refuse_shared_schemas(urls: dict[str, Any]) -> None:
    seen: dict[str, str] = {}
    for name, url in urls.items():
        place = where_of(str(url))
        if place in seen:
            raise ConfigError(f"[{SECTION}] {seen[place]} and {name} are both in {place}; each needs its own")
        seen[place] = name


def is_file(url: object) -> bool:
    """Whether a database's URL, or that there is none, means a file."""
    return not url or str(url).startswith("sqlite:")
