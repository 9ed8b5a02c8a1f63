"""`pileus verify` on one host sees all of them: their own processes look, over the broker."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from tests.api.compute.actors import Shop
from tests.scenario.split.split_cloud import API_ROLES, SplitCloud
from verified import pileus, verdict

ROLES = (
    " ".join((*API_ROLES, "network-server", "compute-scheduler", "compute-conductor")), "compute-agent@near",
    "compute-agent@far",
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB) -> Iterator[SplitCloud]:
    directory = tmp_path_factory.mktemp("hosts")
    with SplitCloud(directory, broker=rabbitmq, database=mariadb, roles=ROLES) as running:
        yield running


@pytest.fixture(scope="module")
def servers(cloud: SplitCloud) -> dict[str, str]:
    """A server on each of the two hosts, by the host."""
    shop = Shop(cloud)
    found: dict[str, str] = {}
    for number in range(12):
        server = shop.boot(f"server-{number}")
        shop.user.until_status(server, "ACTIVE")
        ((host,),) = cloud.rows("compute", "servers", f"id = '{server}'", "host")
        found[host] = server
        if len(found) == 2:
            return found
    raise AssertionError(f"the scheduler never chose another host than {list(found)}")


def test_what_no_host_lacks_is_no_finding(cloud: SplitCloud, servers: dict[str, str]) -> None:
    found = verdict(cloud.state_dir, config=cloud.config)
    assert (found["findings"], found["problems"], found["counts"]["hosts"]) == ([], [], 3)
    assert found["counts"]["server directories"] == found["counts"]["servers"]


def test_what_is_wrong_there_is_found_and_left_to_that_host(cloud: SplitCloud, servers: dict[str, str]) -> None:
    instances = cloud.state_dir / "hosts" / "far" / "instances"
    stray = instances / str(uuid.uuid4())
    stray.mkdir()
    (stray / "disk").write_bytes(b"bytes of nobody")
    (stray / "disk").chmod(0o600)
    lost = instances / servers["far"]
    lost.rename(hidden := lost.with_name("hidden"))
    try:
        found = verdict(cloud.state_dir, config=cloud.config, settle_s=0.5)
        named = {(item["name"], item["host"], item["resources"]["server"]) for item in found["findings"]}
        assert named == {("disk-without-row", "far", stray.name), ("row-without-disk", "far", lost.name)}
    finally:
        hidden.rename(lost)
    done = pileus("repair", cloud.state_dir, "--apply", "--settle-s", "0.5", config=cloud.config)
    assert f"left to you disk-without-row: server {stray.name}: only on far itself can this be done" in done.stdout
    assert (stray / "disk").exists()
    (stray / "disk").unlink()
    stray.rmdir()
    assert verdict(cloud.state_dir, config=cloud.config)["findings"] == []


def test_a_host_that_is_off_is_named(cloud: SplitCloud, servers: dict[str, str]) -> None:
    cloud.kill("compute-agent@far")
    try:
        found = verdict(cloud.state_dir, config=cloud.config)
        (problem,) = found["problems"]
        assert problem["part"] == "host far"
        assert problem["reason"] == "no process of the cloud answers there"
        assert found["findings"] == []
    finally:
        cloud.start_role("compute-agent@far")
    assert verdict(cloud.state_dir, config=cloud.config)["problems"] == []
