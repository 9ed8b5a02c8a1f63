"""The promises of the APIs on a real cluster of three members: tests that are there already, run again by a pytest of
their own; with two processes, each talks to a member of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from cloud import Cloud
from engines.galera import PASSWORD, USER, url_through
from engines.mariadb import OTHER_MEMBER, SHARED
from engines.proxy import Switch
from pileus.lab.engines.galera import GaleraCluster, GaleraMember

sys.path.insert(0, str(Path(__file__).parent.parent / "api" / "compute"))

from actors import Shop

pytestmark = pytest.mark.long

TESTS = Path(__file__).parent.parent
LIMIT_S = 1_800
BOOTS = 5
NOTICED_AFTER_S = 1.0
"""What a proxy's checks may take until they notice a death."""
REFUSED_FOR_S = 6.0
WAIT_S = 300
KINDS = ("compute", "identity", "image", "network", "placement")
SUBSET = {
    "compute": ("test_servers.py", "test_restart.py", "test_keypairs.py"),
    "identity": ("test_projects_and_domains.py", "test_roles_and_assignments.py"),
    "image": ("test_images.py",),
    "network": ("test_ports.py", "test_subnet_pools.py"),
    "placement": ("",),
}


@pytest.fixture
def environment(cluster: GaleraCluster) -> dict[str, str]:
    """For a pytest whose tests shall find the cluster where they look for one server."""
    one, other, _ = (_as_one_server(member) for member in cluster.members)
    return os.environ | {"PILEUS_TEST_DATABASE": "mariadb", SHARED: one, OTHER_MEMBER: other}


def _as_one_server(member: GaleraMember) -> str:
    socket = member.place.directory / "socket"
    socket.unlink(missing_ok=True)
    socket.symlink_to(member.place.directory / "mariadb.sock")
    return f"{member.port}:{member.place.directory}"


def _run(paths: list[Path], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", *map(str, paths)]
    ended = subprocess.run(
        command, env=environment, cwd=TESTS.parent, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert ended.returncode == 0, ended.stdout[-20_000:] + ended.stderr[-2_000:]


@pytest.mark.parametrize("service", SUBSET)
def test_what_asks_most_of_a_database(service: str, environment: dict[str, str]) -> None:
    _run([TESTS / "api" / service / name for name in SUBSET[service]], environment)


def test_two_processes_that_write_to_two_members_give_nothing_out_twice(environment: dict[str, str]) -> None:
    _run([TESTS / "engines" / "test_two_processes.py"], environment)


def test_members_die_under_a_cloud_and_nothing_that_was_accepted_fails(
    cluster: GaleraCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, next_writer, third = cluster.members
    run = uuid.uuid4().hex[:8]
    for kind in KINDS:
        writer.create_schema(f"o{run}_{kind}", USER, PASSWORD)
    with Switch(writer.place.address, writer.port) as switch:
        urls = {kind: url_through(switch, f"o{run}_{kind}") for kind in KINDS}
        with Cloud(tmp_path, tables={"database": urls}) as cloud:
            shop = Shop(cloud)
            servers = [shop.boot(f"before.{n}") for n in range(BOOTS)]
            writer.kill()
            time.sleep(NOTICED_AFTER_S)
            switch.turn(next_writer.place.address, next_writer.port)
            servers += [shop.boot(f"after.{n}") for n in range(BOOTS)]  # each is accepted, at once or a little later
            third.kill()
            monkeypatch.setattr("pileus.kernel.db.database.RETRY_FOR_S", 1.0)
            _is_refused(cloud, shop.user.token)
            monkeypatch.undo()
            cluster.restart()
            for server_id in servers:
                shop.user.until_status(server_id, "ACTIVE", timeout_s=WAIT_S)
            for server_id in servers:
                answer = cloud.request("DELETE", f"/compute/v2.1/servers/{server_id}", token=shop.user.token)
                assert answer.status_code == 204, answer.text
            for server_id in servers:
                shop.user.until_gone(server_id, timeout_s=WAIT_S)


def _is_refused(cloud: Cloud, token: str) -> None:
    """The one member that is left has no majority: users are told so as long as that lasts."""
    path, codes = "/compute/v2.1/servers", list[int]()
    until = time.monotonic() + REFUSED_FOR_S
    while time.monotonic() < until:
        codes.append(cloud.request("GET", path, token=token).status_code)
    assert set(codes) <= {200, 503}
    assert codes[-1] == 503
