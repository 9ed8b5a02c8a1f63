"""Roles as processes of one machine that share database files; only the broker is an engine of its own."""

from __future__ import annotations

from pathlib import Path

from engines.rabbitmq import RabbitMQ
from tests.api.compute.actors import Shop
from tests.scenario.split.split_cloud import SplitCloud

WAIT_S = 150.0
SERVERS = 10


def test_servers_come_and_go_on_shared_files(tmp_path: Path, rabbitmq: RabbitMQ) -> None:
    with SplitCloud(tmp_path, broker=rabbitmq, database=None) as cloud:
        shop = Shop(cloud)
        servers = [shop.boot(f"guest-{number}") for number in range(SERVERS)]
        for server in servers:
            shop.user.until_status(server, "ACTIVE", timeout_s=WAIT_S)
        for server in servers:
            assert shop.user.ask("DELETE", f"/servers/{server}").status_code == 204
        for server in servers:
            shop.user.until_gone(server, timeout_s=WAIT_S)
        assert cloud.rows("placement", "allocations") == []
        assert cloud.rows("network", "ports", "device_owner LIKE 'compute:%'") == []
