"""A running cloud goes from files to MariaDB and RabbitMQ: nothing it had is lost, and it is hardly away."""

from __future__ import annotations

import os
import re
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.api.compute.actors import Shop
from tests.scenario.moved.moving_cloud import DATABASES, MovingCloud, Watch

AWAY_LIMIT_S = 15.0  # three times what is promised, for a busy machine
WAIT_S = 150.0


@pytest.mark.long
def test_a_running_cloud_moves(tmp_path: Path, mariadb: MariaDB, rabbitmq: RabbitMQ) -> None:
    with MovingCloud(tmp_path, mariadb, rabbitmq) as cloud:
        shop = Shop(cloud)
        for number in range(3):
            shop.user.until_status(shop.boot(f"gäst-🌩-{number}"), "ACTIVE")
        token = shop.admin.token
        cloud.seen(token)  # a project's default security group is made when it is first looked at
        before = cloud.seen(token)
        with Watch(cloud.url + "/compute/v2.1/servers", shop.user.token) as watch:
            done = cloud.move()
        print(done.stdout, f"away {watch.longest_s:.2f} s")
        assert watch.longest_s < AWAY_LIMIT_S
        assert watch.statuses == {200}
        assert "verify: nothing found" in done.stdout
        assert 0 <= done.stdout.find("join: ") < done.stdout.index("Stopping"), "a new table was made in the pause"
        _assert_nothing_is_missing(before, cloud.seen(token))
        assert cloud.rows("compute", "SELECT COUNT(*) FROM {}.servers") == [(3,)]
        _assert_the_new_place_is_the_only_one(cloud)
        in_flight = shop.boot("after")
        shop.user.until_status(in_flight, "ACTIVE", timeout_s=WAIT_S)
        shop.user.delete(in_flight)
        assert cloud.move().stdout.startswith("The new configuration is in force already")


def _assert_nothing_is_missing(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Each thing is as it was. More may have been made since: a default security group of a project, say."""
    for path, found in before.items():
        for key, items in found.items():
            if isinstance(items, list):
                assert [item for item in items if item not in after[path][key]] == [], path


def _assert_the_new_place_is_the_only_one(cloud: MovingCloud) -> None:
    status = cloud.command("db", "status").stdout
    assert status.count("MariaDB") == len(cloud.schemas), status
    assert stat.S_IMODE(cloud.config.stat().st_mode) == 0o600
    kept = cloud.config.with_name("pileus.toml.before-move")
    assert kept.read_text().startswith("# the operator's words")
    files = {path.name for path in (cloud.state_dir / "db").iterdir()}
    assert files == {f"{name}.sqlite.before-move" for name in DATABASES}
    assert not (cloud.state_dir / "db-move").exists()
    for schema in cloud.schemas.values():
        assert cloud.mariadb.execute(f"SHOW TABLES IN `{schema}` LIKE 'pileus_move'") == []
    cloud.command("down")
    now = cloud.config.read_bytes()
    cloud.config.write_bytes(kept.read_bytes())
    refused = cloud.command("up", check=False)
    assert (refused.returncode, "was moved away from" in refused.stderr) == (1, True), refused.stderr
    cloud.config.write_bytes(now)
    cloud.command("up")


@pytest.mark.long
@pytest.mark.parametrize("where", ["compute: .* is ready", "identity: .* copied", "Stopping", "locked"])
def test_a_move_that_is_killed_before_the_switch_leaves_the_old_cloud(
    tmp_path: Path, mariadb: MariaDB, rabbitmq: RabbitMQ, where: str
) -> None:
    """`pileus up`, a change, and another attempt, which goes on."""
    with MovingCloud(tmp_path, mariadb, rabbitmq) as cloud:
        shop = Shop(cloud)
        servers = [shop.boot("first"), shop.boot("second")]
        for server in servers:
            shop.user.until_status(server, "ACTIVE", timeout_s=WAIT_S)
        _kill_when(cloud, where)
        assert not cloud.is_switched
        cloud.command("up")
        assert {server["id"] for server in shop.user.get("/servers")["servers"]} == set(servers)
        shop.user.delete(servers.pop())
        assert "verify: nothing found" in cloud.move().stdout
        assert {server["id"] for server in shop.user.get("/servers")["servers"]} == set(servers)
        _assert_the_new_place_is_the_only_one(cloud)


@pytest.mark.long
def test_a_move_that_is_killed_after_the_switch_leaves_the_new_cloud(
    tmp_path: Path, mariadb: MariaDB, rabbitmq: RabbitMQ
) -> None:
    with MovingCloud(tmp_path, mariadb, rabbitmq) as cloud:
        shop = Shop(cloud)
        server = shop.boot("first")
        shop.user.until_status(server, "ACTIVE", timeout_s=WAIT_S)
        _kill_when(cloud, "switched")
        assert cloud.is_switched
        cloud.command("up")
        second = shop.boot("on the new one, before the move is over")
        shop.user.until_status(second, "ACTIVE", timeout_s=WAIT_S)
        done = cloud.move()
        assert "verify: nothing found" in done.stdout, done.stdout
        assert {found["id"] for found in shop.user.get("/servers")["servers"]} == {server, second}
        _assert_the_new_place_is_the_only_one(cloud)


def _kill_when(cloud: MovingCloud, where: str) -> None:
    """SIGKILL to a move: at a line it prints, or when something else is seen of it."""
    process = cloud.begin_move()
    assert process.stdout is not None
    seen: dict[str, Callable[[], bool]] = {
        "locked": lambda: cloud.held_by == process.pid, "switched": lambda: cloud.is_switched,
    }  # fmt: skip
    if where in seen:
        deadline = time.monotonic() + WAIT_S
        while not seen[where]():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.002)
    else:
        for line in process.stdout:
            if re.match(where, line):
                break
        else:
            raise AssertionError(f"no line {where}")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(WAIT_S)
    process.stdout.close()


@pytest.mark.long
def test_a_move_that_fails_in_the_pause_starts_the_old_cloud_again(
    tmp_path: Path, mariadb: MariaDB, rabbitmq: RabbitMQ
) -> None:
    with MovingCloud(tmp_path, mariadb, rabbitmq) as cloud:
        shop = Shop(cloud)
        process = cloud.begin_move()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Stopping"):
                mariadb.drop(cloud.schemas["placement"])  # the server is another's a moment later
        assert process.wait(WAIT_S) == 1
        assert not cloud.is_switched
        shop.user.until_status(shop.boot("as ever"), "ACTIVE", timeout_s=WAIT_S)
        mariadb.url(cloud.schemas["placement"])
        assert "verify: nothing found" in cloud.move().stdout


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('[database]', '[databse]', "[databse] is no table of the configuration"),
        ("@127.0.0.1:", "@127.0.0.1:1", "cannot be used: "),
        ("root@", "nobody:s3cret-word@", "Access denied"),
        ("_compute", "_identity", "each needs its own"),
        ('_join"', '_gone"', "[database] join: schema 'm"),
        ("guest:guest", "guest:s3cret-word", "[bus] the broker amqp://127.0.0.1:"),
        ('hypervisor = "fake"', 'hypervisor = "libvirt"', "[compute] differs; a move changes "),
        ('"moving-host"', '"other-host"', "[node] must be the same"),
        ("mysql+pymysql", "postgresql", "a move goes to a URL that begins with mysql+pymysql://"),
        ('image = ', 'imige = ', "imige is no service"),
    ],
)
def test_what_cannot_be_is_said_before_anything_happens(
    tmp_path: Path, mariadb: MariaDB, rabbitmq: RabbitMQ, refused_cloud: MovingCloud, old: str, new: str, words: str
) -> None:
    cloud, good = refused_cloud, refused_cloud.wanted.read_text()
    assert old in good
    pid = cloud.held_by
    try:
        cloud.wanted.write_text(good.replace(old, new))
        refused = cloud.move(check=False)
    finally:
        cloud.wanted.write_text(good)
    assert refused.returncode == 1
    assert words in refused.stderr, refused.stderr
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "s3cret-word" not in refused.stdout + refused.stderr
    assert cloud.held_by == pid


def test_a_schema_of_somebody_else_is_left_alone(refused_cloud: MovingCloud) -> None:
    schema = refused_cloud.schemas["placement"]
    refused_cloud.mariadb.execute(f"ALTER DATABASE `{schema}` COLLATE utf8mb4_nopad_bin")
    refused_cloud.mariadb.execute(f"CREATE TABLE `{schema}`.theirs (id INT PRIMARY KEY)")
    refused = refused_cloud.move(check=False)
    assert (refused.returncode, "is not empty" in refused.stderr) == (1, True), refused.stderr
    refused_cloud.mariadb.execute(f"DROP TABLE `{schema}`.theirs")


def test_a_file_with_passwords_is_not_for_everybody(refused_cloud: MovingCloud) -> None:
    refused_cloud.wanted.chmod(0o644)
    refused = refused_cloud.move(check=False)
    refused_cloud.wanted.chmod(0o600)
    assert (refused.returncode, "chmod 600" in refused.stderr) == (1, True), refused.stderr
