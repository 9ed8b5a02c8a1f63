"""Which database a service has: the node and the operator's command open it the same way."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pileus.kernel.config import ConfigError, NodeConfig
from pileus.kernel.context import Clock
from pileus.kernel.db import Database
from pileus.kernel.db.database import MARIADB_SCHEMES
from pileus.kernel.process.manifest import Service

SECTION = "database"
"""The configuration table: service type -> URL. A service that it does not name has a file in the state directory."""
MOVED_SUFFIX = ".before-move"
"""What `pileus db move` adds to the name of a file whose content is elsewhere now."""


def open_database(
    config: NodeConfig, tables: dict[str, Any], service: Service, clock: Clock | None = None
) -> Database:
    """The database of a service, not migrated; the caller closes it. Another process may have it open as well."""
    url = tables.get(SECTION, {}).get(service.type)
    if url:
        return Database(url, name=service.type, clock=clock)
    path = file_of(config, service.type)
    refuse_what_has_moved(path, service.type)
    return Database.sqlite(path, name=service.type, clock=clock)


def load_drivers(tables: dict[str, Any]) -> None:
    """Load the code of the engines that [database] names, so that the start need not."""
    if any(str(url).startswith(MARIADB_SCHEMES) for url in tables.get(SECTION, {}).values()):
        importlib.import_module("pileus.kernel.db.mariadb")


def file_of(config: NodeConfig, name: str) -> Path:
    """The file of a database that the configuration does not name."""
    return Path(config.state_dir) / "db" / f"{name}.sqlite"


def refuse_what_has_moved(path: Path, name: str) -> None:
    """A cloud that was moved and is started without its new configuration must not begin anew. Raises ConfigError."""
    if not path.exists() and path.with_name(path.name + MOVED_SUFFIX).exists():
        raise ConfigError(
            f"the database of {name} was moved away from {path.parent} by `pileus db move`, and [{SECTION}] does not "
            "name its new place: this is not the cloud's configuration (see --config)"
        )
