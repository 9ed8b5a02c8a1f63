"""Promises that hold for every service without its author's effort."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.kernel.db import Database, migrations
from pileus.kernel.http import ANY_TOKEN, PUBLIC
from pileus.kernel.policy import Enforcer
from pileus.kernel.process import Service
from pileus.services import discover

SERVICES = discover()
NAMES = {
    "service", "versions", "config", "policies", "quotas", "states", "errors", "rpc", "api", "db", "logic", "flows",
    "tasks", "scheduler", "worker", "drivers", "clients", "extensions", "__init__", "__pycache__",
}  # fmt: skip
WITH_DATABASE = [service for service in SERVICES if service.db]


def folder_of(service: Service) -> Path:
    import pileus.services

    return Path(pileus.services.__path__[0]) / service.type.replace("-", "_")


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.type)
def test_a_service_uses_the_vocabulary_and_nothing_else(service: Service) -> None:
    assert {path.stem for path in folder_of(service).iterdir()} <= NAMES


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.type)
def test_every_route_has_a_policy_that_exists(service: Service) -> None:
    enforcer = Enforcer(service.policies)
    for route in service.routes:
        known = route.policy in (PUBLIC, ANY_TOKEN) or enforcer.knows(route.policy)
        assert known, f"{route.method} {route.path}: {route.policy}"


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.type)
def test_every_rule_that_a_rule_refers_to_exists(service: Service) -> None:
    enforcer = Enforcer(service.policies)
    for name, check in enforcer.texts.items():
        for word in check.replace("(", " ").replace(")", " ").split():
            if word.startswith("rule:"):
                assert enforcer.knows(word[5:]), f"{name} refers to {word}"


@pytest.mark.parametrize("service", WITH_DATABASE, ids=lambda service: service.type)
def test_migrations_make_exactly_the_tables_that_the_code_uses(service: Service, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    assert service.db is not None
    database = Database.sqlite(tmp_path / "db.sqlite", name=service.type)
    assert migrations.upgrade(database, service.db)
    assert not migrations.upgrade(database, service.db)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, service.metadata()) == []
    database.close()
