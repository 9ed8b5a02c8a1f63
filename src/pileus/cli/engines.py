"""What the cloud stands on, as `pileus status` shows it: the message broker and the databases, all asked at the same
time and not waited for longer than a few seconds."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from sqlalchemy.exc import DBAPIError

from pileus.cli import processes
from pileus.cli.layout import Layout
from pileus.kernel import config as configuration
from pileus.kernel.config import BusConfig, ConfigError
from pileus.kernel.db import migrations
from pileus.kernel.observe.recorder import TOPIC as TRACE_TOPIC
from pileus.kernel.process import Role, Service
from pileus.kernel.process.buses import is_local
from pileus.kernel.process.databases import SECTION, open_database
from pileus.services import discover

DEADLINE_S = 8.0
"""For all engines together: what has not answered by then is not waited for. A slow machine needs time besides."""
BROKER_TIMEOUT_S = 4.0


class Report(msgspec.Struct, frozen=True):
    """What became of one engine. kind: `broker` or `database`. text: for people; it holds no password."""

    kind: str
    good: bool
    text: str


def look(layout: Layout) -> list[Report]:
    """All engines that the processes of this host need."""
    questions: dict[str, Callable[[], Report]] = {}
    if not is_local(layout.tables):
        questions["broker"] = lambda: _broker(layout)
    for service in with_database(layout):
        questions[f"database {service.type}"] = lambda service=service: _database(layout, service)
    found = _all_at_once(questions)
    return [
        found.get(name) or Report(name.split()[0], False, f"{_rest(name)}no answer within {DEADLINE_S:g} s")
        for name in questions
    ]


def _rest(name: str) -> str:
    _, _, service = name.partition(" ")
    return f"{service}: " if service else ""


def _all_at_once(questions: Mapping[str, Callable[[], Report]]) -> dict[str, Report]:
    """The answers that came in time. Whoever hangs is left hanging: its thread ends with the command."""
    answers: dict[str, Report] = {}

    def ask(name: str, question: Callable[[], Report]) -> None:
        answers[name] = question()

    threads = [threading.Thread(target=ask, args=item, daemon=True) for item in questions.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + DEADLINE_S
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))
    return dict(answers)


# -- the broker ------------------------------------------------------------------------------------------------------


def _broker(layout: Layout) -> Report:
    from pileus.kernel.bus.amqp.inspection import NoAnswer, inspect  # not loaded where there is no broker

    brokers = configuration.section(layout.tables, "bus", BusConfig).brokers
    roles = [role.name for role in processes.known_roles().values() if not role.is_api]
    topics = [*roles, *(f"{role}@{layout.node.host}" for role in roles), TRACE_TOPIC]
    silent: list[str] = []
    for url in brokers:  # any member knows what all have
        where = _address(url)
        try:
            state = asyncio.run(inspect(url, layout.node.cloud, topics, timeout_s=BROKER_TIMEOUT_S / len(brokers)))
            break
        except NoAnswer as error:
            silent.append(f"{where} does not answer: {error}")
    else:
        return Report("broker", False, "; ".join(silent))
    waiting = {topic: found.waiting for topic, found in state.topics.items() if found.waiting}
    shown = ", ".join(f"{topic} {count}" for topic, count in sorted(waiting.items())) or "nothing waits"
    dead = f"; {state.dead} dead messages in {layout.node.cloud}.dead" if state.dead else "; no dead messages"
    return Report("broker", True, f"{where} answers; {len(state.topics)} topics: {shown}{dead}")


def _address(url: str) -> str:
    """Host and port of a URL, without what is secret in it."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


# -- databases -------------------------------------------------------------------------------------------------------


def with_database(layout: Layout) -> list[Service]:
    """The services whose databases the processes of this host open."""
    return [
        service for service in discover()
        if service.db is not None and any(role.needs_db for role in _roles_here(layout, service))
    ]


def _roles_here(layout: Layout, service: Service) -> tuple[Role, ...]:
    here = processes.configured(layout)
    if any(process.roles is None for process in here):
        return service.default_roles(alone=is_local(layout.tables))
    wanted = {name for process in here for name in process.roles or ()}
    return tuple(role for role in service.roles if role.name in wanted)


def _database(layout: Layout, service: Service) -> Report:
    name = service.type
    url = layout.tables.get(SECTION, {}).get(name)
    file = Path(layout.node.state_dir) / "db" / f"{name}.sqlite"
    if not url and not file.exists():
        return Report("database", False, f"{name}: there is no {file}")
    where = f"at {_address(url)}" if url and urlsplit(url).hostname else "in a file"
    begun = time.monotonic()
    try:
        database = open_database(layout.node, layout.tables, service)
        found = migrations.current_revision(database)
        database.close()
    except (DBAPIError, ConfigError, OSError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        return Report("database", False, f"{name}: {where}: {reason}")
    wanted = migrations.head_revision(service.db or "")
    if found != wanted:
        return Report("database", False, f"{name}: {where}: schema {found}, this code needs {wanted}")
    return Report("database", True, f"{name}: {where}, schema {found}, {(time.monotonic() - begun) * 1000:.0f} ms")
