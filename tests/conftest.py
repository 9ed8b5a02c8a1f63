"""Fixtures for all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cloud import Cloud
from engines.mariadb import MariaDB
from engines.mariadb import shared as shared_mariadb
from engines.rabbitmq import RabbitMQ
from engines.rabbitmq import shared as shared_rabbitmq


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cloud]:
    """A running cloud with fake drivers, shared by one test file. A file may name `SERVICES` to run only those."""
    services = getattr(request.module, "SERVICES", None)
    with Cloud(tmp_path_factory.mktemp("cloud"), services=services) as running:
        yield running
    running.drop_schemas()


@pytest.fixture(scope="session")
def mariadb() -> MariaDB:
    """The MariaDB server of this session; a test makes schemas of its own in it."""
    return shared_mariadb()


@pytest.fixture(scope="session")
def rabbitmq() -> RabbitMQ:
    """The broker of this session; tests keep apart by the names of their clouds."""
    return shared_rabbitmq()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything must be proved (CI), a test that leaves itself out has failed."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI=true does not allow: {report.longrepr}"
    return report
