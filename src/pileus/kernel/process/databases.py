"""Which database a service has: the node and the operator's command open it the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pileus.kernel.config import NodeConfig
from pileus.kernel.context import Clock
from pileus.kernel.db import Database
from pileus.kernel.process.manifest import Service

SECTION = "database"
"""The configuration table: service type -> URL. A service that it does not name has a file in the state directory."""


def open_database(
    config: NodeConfig, tables: dict[str, Any], service: Service, clock: Clock | None = None
) -> Database:
    """The database of a service, not migrated; the caller closes it. Another process may have it open as well."""
    url = tables.get(SECTION, {}).get(service.type)
    if url:
        return Database(url, name=service.type, clock=clock)
    path = Path(config.state_dir) / "db" / f"{service.type}.sqlite"
    return Database.sqlite(path, name=service.type, clock=clock)
