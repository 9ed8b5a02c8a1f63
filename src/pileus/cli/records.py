"""The databases of a cloud on this machine, opened for reading beside its process (or without it)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pileus.cli.layout import Layout
from pileus.kernel.db import Database
from pileus.kernel.observe import store
from pileus.kernel.observe.operation import Traces
from pileus.kernel.observe.steps import Journal
from pileus.kernel.process.databases import SECTION, open_database
from pileus.kernel.process.manifest import Service
from pileus.services import discover


class NoRecords(RuntimeError):
    """There is nothing of a cloud here; the text says where was looked."""


@contextlib.contextmanager
def opened(layout: Layout) -> Iterator[tuple[Traces, dict[str, Database]]]:
    """The traces, and the databases of the services that have one here, by service type."""
    with contextlib.ExitStack() as stack:
        databases: dict[str, Database] = {}
        services = [service for service in discover() if service.db is not None and _is_here(layout, service.type)]
        if not services:
            raise NoRecords(f"there are no databases of a cloud in {layout.state_dir / 'db'}")
        for service in services:
            database = open_database(layout.node, layout.tables, service)
            stack.callback(database.close)
            databases[service.type] = database
        traces = None
        if _is_here(layout, store.NAME):
            traces = store.open_trace(layout.state_dir, layout.tables.get(SECTION, {}).get(store.NAME))
            stack.callback(traces.close)
        yield Traces(traces, [_journal(service, databases[service.type]) for service in services if service.flow_store
                              is not None]), databases


def _journal(service: Service, database: Database) -> Journal:
    assert service.flow_store is not None
    return Journal(service.type, service.flow_store, service.flows, database)


def _is_here(layout: Layout, name: str) -> bool:
    """Whether there is such a database: asking must not make one."""
    file = Path(layout.node.state_dir) / "db" / f"{name}.sqlite"
    return bool(layout.tables.get(SECTION, {}).get(name)) or file.exists()
