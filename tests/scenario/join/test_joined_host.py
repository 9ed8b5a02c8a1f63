"""A machine joins a running cloud by token, over TLS, and serves: with a real broker and a real database server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from cloud import free_port
from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.api.compute.actors import Shop
from tests.scenario.join.joined_cloud import Controller, JoinedHost, pileus

WAIT_S = 180.0
SERVERS = 3

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def controller(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB
) -> Iterator[Controller]:
    with Controller(tmp_path_factory.mktemp("controller"), broker=rabbitmq, database=mariadb) as running:
        yield running


@pytest.fixture(scope="module")
def compute_host(controller: Controller, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoinedHost]:
    host = JoinedHost(tmp_path_factory.mktemp("compute"), "compute-1")
    host.join(controller.join_token("guests=compute-agent", "net=network-l2,network-l3,network-dhcp"))
    host.start()
    yield host
    host.stop()


def test_servers_boot_on_a_host_that_joined(controller: Controller, compute_host: JoinedHost) -> None:
    shop = Shop(controller)
    servers = [shop.boot(f"guest-{number}") for number in range(SERVERS)]
    for server in servers:
        shop.user.until_status(server, "ACTIVE", timeout_s=WAIT_S)
        assert shop.admin.server(server)["OS-EXT-SRV-ATTR:host"] == "compute-1"
    # The image came over HTTP with the one secret that the host was given.
    assert list((compute_host.state_dir / "compute").glob("*")), "the guests are there, not on the controller"
    assert not (controller.state_dir / "compute" / "instances").exists()
    for server in servers:
        assert shop.user.ask("DELETE", f"/servers/{server}").status_code == 204
    for server in servers:
        shop.user.until_gone(server, timeout_s=WAIT_S)
    assert controller.rows("placement", "allocations") == []


def test_the_host_holds_nothing_that_opens_a_database_or_the_cloud(
    controller: Controller, compute_host: JoinedHost
) -> None:
    paths = [compute_host.config, *(path for path in compute_host.state_dir.rglob("*") if path.is_file())]
    everything = b"\n".join([*(path.read_bytes() for path in paths), *compute_host.environment()])
    assert b"mysql" not in everything
    assert not (compute_host.state_dir / "cluster.key").exists()
    assert not list((compute_host.state_dir / "db").glob("*"))
    key = (controller.state_dir / "cluster.key").read_bytes()
    for secret in (key, key.hex().encode(), controller.admin_password.encode()):
        assert secret not in everything
    assert json.loads((compute_host.state_dir / "secrets.json").read_text()).keys() == {"service-password-compute"}


def test_a_role_that_the_token_was_not_for_says_what_it_lacks(compute_host: JoinedHost) -> None:
    done = pileus("serve", "identity-api", "--port", str(free_port()), "--config", str(compute_host.config))
    assert done.returncode == 1
    assert "cluster.key" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_controller_serves_the_same_cloud(
    controller: Controller, tmp_path: Path, compute_host: JoinedHost
) -> None:
    """Its own directory, the same key: tokens of either are good at both, and it signs for hosts as well."""
    host = JoinedHost(tmp_path, "c2")
    port = free_port()
    host.join(controller.join_token(f"identity=identity-api:{port}"))
    host.start()
    try:
        body = {"auth": {"identity": {"methods": ["token"], "token": {"id": controller.admin_token()}}}}
        url = f"http://127.0.0.1:{port}/identity/v3/auth/tokens"
        made = requests.post(url, json=body, timeout=60)
        assert made.status_code == 201, made.text
        token = made.headers["X-Subject-Token"]
        assert controller.request("GET", "/compute/v2.1/servers", token=controller.admin_token()).status_code == 200
        assert controller.request("GET", "/identity/v3/auth/projects", token=token).status_code == 200
    finally:
        host.stop()
    shown = pileus("host", "list", "--config", str(controller.config)).stdout
    assert {line.split()[0] for line in shown.splitlines()} == {"c1", "c2", "compute-1"}
