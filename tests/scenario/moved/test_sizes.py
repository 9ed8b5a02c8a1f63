"""How long the API is away while clouds of several sizes move: what takes long is done before."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from pathlib import Path

import pytest

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.api.compute.actors import Shop
from tests.scenario.moved.moving_cloud import MovingCloud, Watch

AWAY_LIMIT_S = 5.0
BUSY = 4
"""How much slower a machine may be that does other things as well."""
HOPS_PER_SERVER = 20

pytestmark = pytest.mark.long


@pytest.mark.parametrize("servers", [100, 1_000, 5_000])
def test_the_pause(tmp_path: Path, mariadb: MariaDB, rabbitmq: RabbitMQ, servers: int) -> None:
    with MovingCloud(tmp_path, mariadb, rabbitmq) as cloud:
        shop = Shop(cloud)
        server = shop.boot("first")
        shop.user.until_status(server, "ACTIVE")
        multiply(cloud.state_dir / "db", server, servers - 1)
        begun = time.monotonic()
        with Watch(cloud.url + "/compute/v2.1/servers?limit=1", shop.user.token) as watch:
            done = cloud.move(check=False)  # the copies have no guests, which is found
        took_s = time.monotonic() - begun
        assert "The API was away for" in done.stdout, done.stdout + done.stderr
        print(done.stdout[: done.stdout.index("The old ")])
        print(f"{servers} servers: away {watch.longest_s:.2f} s, all of it {took_s:.0f} s")
        assert cloud.rows("compute", "SELECT COUNT(*) FROM {}.servers") == [(servers,)]
        assert cloud.rows("placement", "SELECT COUNT(*) FROM {}.allocations") == [(3 * servers,)]
        assert watch.longest_s < AWAY_LIMIT_S * BUSY


def multiply(directory: Path, server: str, times: int) -> None:
    """More rows like those of one server, on a host that has no agent."""
    owners = [(str(uuid.uuid4()), number) for number in range(times)]
    (port,) = _ask(directory / "network.sqlite", f"SELECT id FROM ports WHERE device_id = '{server}'")[0]
    (flow,) = _ask(directory / "compute.sqlite", f"SELECT id FROM flows WHERE resource_id = '{server}'")[0]
    ports = {owner: str(uuid.uuid4()) for owner, _ in owners}
    flows = {owner: str(uuid.uuid4()) for owner, _ in owners}
    elsewhere = {"host": "'elsewhere'"}
    _clone(directory / "compute.sqlite", "servers", f"id = '{server}'", [
        {"id": f"'{owner}'", "node": "'elsewhere'"} | elsewhere for owner, _ in owners
    ])  # fmt: skip
    _clone(directory / "compute.sqlite", "flows", f"id = '{flow}'", [
        {"id": f"'{flows[owner]}'", "resource_id": f"'{owner}'", "seq": "NULL"} for owner, _ in owners
    ])  # fmt: skip
    _clone(directory / "compute.sqlite", "flow_journal", f"flow_id = '{flow}'", [
        {"flow_id": f"'{flows[owner]}'"} for owner, _ in owners
    ])  # fmt: skip
    _clone(directory / "network.sqlite", "ports", f"id = '{port}'", [
        {"id": f"'{ports[owner]}'", "device_id": f"'{owner}'",
         "mac_address": f"'fa:16:3f:00:{n // 256:02x}:{n % 256:02x}'"} | elsewhere for owner, n in owners
    ])  # fmt: skip
    _clone(directory / "network.sqlite", "addresses", f"port_id = '{port}'", [
        {"port_id": f"'{ports[owner]}'", "ip_address": f"'10.30.{n // 250}.{n % 250 + 1}'"} for owner, n in owners
    ])  # fmt: skip
    _clone(directory / "network.sqlite", "port_security_groups", f"port_id = '{port}'", [
        {"port_id": f"'{ports[owner]}'"} for owner, _ in owners
    ])  # fmt: skip
    for table, column in (("consumers", "uuid"), ("allocations", "consumer_uuid")):
        _clone(directory / "placement.sqlite", table, f"{column} = '{server}'", [
            {column: f"'{owner}'"} for owner, _ in owners
        ])  # fmt: skip
    _clone(directory / "trace.sqlite", "hops_1", "seq = (SELECT MAX(seq) FROM hops_1)", [
        {"seq": "NULL", "resource_id": f"'{owner}'"} for owner, _ in owners for _ in range(HOPS_PER_SERVER)
    ])  # fmt: skip


def _ask(path: Path, statement: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
        return database.execute(statement).fetchall()


def _clone(path: Path, table: str, where: str, changes: list[dict[str, str]]) -> None:
    """Copy rows, once for each of these changes (column -> SQL expression)."""
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database, database:
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        for change in changes:
            values = ", ".join(change.get(name, name) for name in columns)
            database.execute(f"INSERT INTO {table} SELECT {values} FROM {table} WHERE {where}")
