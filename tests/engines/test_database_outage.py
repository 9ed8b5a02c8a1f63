"""The database server dies in the middle of things and comes back: what was accepted is finished, nothing else was."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud import Cloud
from engines.mariadb import MariaDB

sys.path.insert(0, str(Path(__file__).parent.parent / "api" / "compute"))

from actors import Shop

BOOTS = 5
ROUNDS = 2
OUTAGE_S = 3.0
"""Longer than transactions are tried again here, so that flows and loops see the failure, not only a pause."""
WAIT_S = 300


@pytest.fixture
def server() -> Iterator[MariaDB]:
    with MariaDB() as running:
        yield running


@pytest.fixture
def cloud(server: MariaDB, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr("pileus.kernel.db.database.RETRY_FOR_S", 1.0)
    kinds = ("compute", "identity", "image", "network", "placement")
    with Cloud(tmp_path, tables={"database": {kind: server.url(kind) for kind in kinds}}) as running:
        yield running


def test_an_outage_of_the_database_delays_what_was_accepted_and_fails_nothing(cloud: Cloud, server: MariaDB) -> None:
    shop = Shop(cloud)
    token = shop.user.token
    servers: list[str] = []
    for round_number in range(ROUNDS):
        servers += [shop.boot(f"s{round_number}.{n}") for n in range(BOOTS)]
        server.kill()
        away_until = time.monotonic() + OUTAGE_S
        while time.monotonic() < away_until:
            answer = cloud.request("GET", "/compute/v2.1/servers", token=token)
            assert answer.status_code == 503, answer.text
        server.resume()
        for server_id in servers:
            shop.user.until_status(server_id, "ACTIVE", timeout_s=WAIT_S)
    for server_id in servers:
        assert cloud.request("DELETE", f"/compute/v2.1/servers/{server_id}", token=token).status_code == 204
    server.kill()
    server.resume()
    for server_id in servers:
        shop.user.until_gone(server_id, timeout_s=WAIT_S)
    ports = cloud.request("GET", f"/network/v2.0/ports?project_id={shop.user.project_id}", token=shop.admin.token)
    assert [port for port in ports.json()["ports"] if not port["device_owner"].startswith("network:")] == []
