"""Real guests and networks under roles that are processes of their own: they answer, and outlive every role."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.scenario.compute_host.private_host import GUEST_IMAGE
from tests.scenario.split.split_cloud import API_ROLES, SplitCloud

APIS = " ".join((*API_ROLES, "identity-upkeep", "image-reconciler"))
OTHERS = (
    "network-server", "network-l2", "network-l3", "network-dhcp", "compute-scheduler", "compute-conductor",
    "compute-metadata", "compute-agent",
)
WAIT_S = 300.0
PINGS_PER_S = 10


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB) -> Iterator[SplitCloud]:
    real = {"compute": {}, "network": {}}
    directory = tmp_path_factory.mktemp("split")
    with SplitCloud(directory, broker=rabbitmq, database=mariadb, tables=real, roles=(APIS, *OTHERS)) as running:
        yield running


@pytest.fixture(scope="module")
def login(cloud: SplitCloud) -> list[str]:
    """The command that logs into the first guest."""
    command = [sys.executable, "-m", "pileus.cli.main", "demo", "--image", str(GUEST_IMAGE)]
    done = run(*command, "--config", str(cloud.config))
    assert done.returncode == 0, done.stdout + done.stderr + cloud.log("compute-agent") + cloud.log("network-l3")
    return next(line.strip() for line in done.stdout.splitlines() if line.strip().startswith("ssh ")).split()


def test_the_first_guest_answers_and_knows_itself(cloud: SplitCloud, login: list[str]) -> None:
    """Its address, key and metadata came through five agents and services in processes of their own."""
    assert run(*login, "hostname").stdout.strip() == "first"
    found = run(*login, "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json").stdout
    ((server,),) = cloud.rows("compute", "servers", "deleted_at IS NULL", "id")
    assert json.loads(found)["uuid"] == server


@pytest.mark.parametrize("role", [*OTHERS, APIS])
def test_no_packet_is_lost_while_a_role_is_killed_and_started_again(
    cloud: SplitCloud, login: list[str], role: str
) -> None:
    address = login[-1].rpartition("@")[2]
    pings = subprocess.Popen(
        ["ping", "-i", str(1 / PINGS_PER_S), "-W", "5", address], stdout=subprocess.PIPE, text=True
    )
    cloud.kill(role)
    cloud.start_role(role)
    time.sleep(3)  # its first rounds: what an agent does to the host, it does now
    pings.send_signal(2)
    output, _ = pings.communicate(timeout=60)
    sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", output).groups())
    assert sent - received <= 1, output[-300:]  # the last may be on its way
    assert sent > 2 * PINGS_PER_S


def test_nothing_is_left_when_the_guest_is_deleted(cloud: SplitCloud, login: list[str]) -> None:
    token = cloud.admin_token()
    ((server,),) = cloud.rows("compute", "servers", "deleted_at IS NULL", "id")
    assert cloud.request("DELETE", f"/compute/v2.1/servers/{server}", token=token).status_code == 204
    path = f"/compute/v2.1/servers/{server}"
    until(lambda: cloud.request("GET", path, token=token).status_code == 404)
    assert cloud.rows("placement", "allocations") == []
    assert cloud.rows("network", "ports", "device_owner LIKE 'compute:%'") == []
    assert "qemu-system" not in run("ps", "-e", "-o", "args").stdout
    assert not list((cloud.state_dir / "compute" / "instances").glob("*"))
    taps = {f"tap{row[0][:11]}" for row in cloud.rows("network", "ports", "1=1", "id")}
    until(lambda: {name for name in devices() if name.startswith("tap")} <= taps)


def devices() -> list[str]:
    return [path.name for path in Path("/sys/class/net").iterdir()]


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=WAIT_S, check=False)


def until(probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.2)
