"""A thousand servers are compared in a couple of seconds."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import uuid
from pathlib import Path

from actors import Shop

from cloud import Cloud
from verified import config_of, verdict

SERVERS = 1_000
LIMIT_S = 10.0  # five times what it takes on an idle machine of two processors, for a busy one


def _clone(path: Path, table: str, where: str, changes: list[dict[str, str]]) -> None:
    """Copy rows, once for each of these changes (column -> SQL expression)."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        for change in changes:
            values = ", ".join(change.get(name, name) for name in columns)
            database.execute(f"INSERT INTO {table} SELECT {values} FROM {table} WHERE {where}")


def test_a_thousand_servers(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Cloud(state) as cloud:
        shop = Shop(cloud)
        server = shop.boot("first")
        shop.user.until_status(server, "ACTIVE")
        config = config_of(cloud)
    db = state / "db"
    port = sqlite3.connect(db / "network.sqlite").execute("SELECT id FROM ports WHERE device_id = ?", (server,))
    port_id = port.fetchone()[0]
    ids = [(str(uuid.uuid4()), str(uuid.uuid4()), number) for number in range(SERVERS - 1)]
    _clone(db / "compute.sqlite", "servers", f"id = '{server}'", [{"id": f"'{new}'"} for new, _, _ in ids])
    _clone(db / "network.sqlite", "ports", f"id = '{port_id}'", [
        {"id": f"'{new}'", "device_id": f"'{owner}'", "mac_address": f"'fa:16:3f:00:{n // 256:02x}:{n % 256:02x}'"}
        for owner, new, n in ids
    ])  # fmt: skip
    _clone(db / "network.sqlite", "addresses", f"port_id = '{port_id}'", [
        {"port_id": f"'{new}'", "ip_address": f"'10.30.{n // 250}.{n % 250 + 1}'"} for _, new, n in ids
    ])  # fmt: skip
    _clone(db / "network.sqlite", "port_security_groups", f"port_id = '{port_id}'", [
        {"port_id": f"'{new}'"} for _, new, _ in ids
    ])  # fmt: skip
    _clone(db / "placement.sqlite", "consumers", f"uuid = '{server}'", [{"uuid": f"'{new}'"} for new, _, _ in ids])
    _clone(db / "placement.sqlite", "allocations", f"consumer_uuid = '{server}'", [
        {"consumer_uuid": f"'{new}'"} for new, _, _ in ids
    ])  # fmt: skip
    with contextlib.closing(sqlite3.connect(db / "placement.sqlite")) as database, database:
        database.execute("UPDATE inventories SET total = 10000000")
    instances = state / "compute" / "instances"
    for new, _, _ in ids:
        shutil.copytree(instances / server, instances / new)
    found = verdict(state, config=config)
    assert (found["findings"], found["problems"]) == ([], []), json.dumps(found)[:2_000]
    assert found["counts"]["servers"] == found["counts"]["claims"] == found["counts"]["server directories"] == SERVERS
    print(f"{SERVERS} servers in {found['seconds']} s")
    assert found["seconds"] < LIMIT_S
