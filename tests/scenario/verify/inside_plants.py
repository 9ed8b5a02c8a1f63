"""A real cloud with a real guest: each corruption of its host is found and named, and repaired; what is not ours stays.

The cloud is down while a corruption is planted and repaired, and up again at the end: then the guest answers as before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.scenario.cloud.installation import Installation, run, wait_for
from tests.scenario.verify.plants import HOST_PLANTS, Planted, Site
from tests.verified import assert_clean, verdict

SETTLE_S = 0.5
NEEDS_THE_CLOUD = frozenset({"port-without-tap"})
"""What only a running cloud can put right: a tap is made when its guest starts."""
UP_LIMIT_S = 240.0


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installed = Installation(tmp_path_factory.mktemp("cloud"))
    installed.pileus("up")
    try:
        installed.demo()
        yield installed
    finally:
        installed.pileus("up")
        installed.tear_down()


@pytest.fixture(scope="module")
def site(cloud: Installation) -> Iterator[Site]:
    server = shown(cloud)
    assert_clean(cloud.state, config=cloud.config)
    cloud.pileus("down")
    assert_clean(cloud.state, config=cloud.config)
    yield Site(cloud, server["id"])
    cloud.pileus("up")


def repair(cloud: Installation, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = cloud.pileus("repair", "--json", "--settle-s", str(SETTLE_S), *arguments, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("name", [name for name in HOST_PLANTS if name not in NEEDS_THE_CLOUD])
def test_found_named_and_repaired(site: Site, name: str) -> None:
    cloud = site.cloud
    planted = HOST_PLANTS[name](site)
    expect(verdict(cloud.state, config=cloud.config, settle_s=SETTLE_S), name, planted)
    status, repaired = repair(cloud, "--apply")
    mine = [item for item in repaired["repairs"] if item["finding"]["name"] == name]
    assert mine[0]["outcome"] == "done", repaired
    assert (status, repaired["findings"]) == (0, []), repaired
    planted.undo()


def expect(found: dict[str, Any], name: str, planted: Planted) -> None:
    """Exactly this finding, on exactly these resources."""
    assert [item["name"] for item in found["findings"]] == [name], found["findings"]
    (finding,) = found["findings"]
    assert finding["resources"].items() >= planted.resources.items()
    assert finding["host"] == "h1"
    assert found["problems"] == []


def test_what_is_not_ours_was_left_alone(site: Site) -> None:
    links = run("ip", "-o", "link").stdout
    assert "tapforeign" in links
    assert "brqforeign" in links
    namespaces = [line.split()[0] for line in run("ip", "netns").stdout.splitlines()]
    foreign = [name for name in namespaces if name.startswith("qrouter-") and name != f"qrouter-{site.router}"]
    assert len(foreign) == 1


def test_the_cloud_is_well_when_it_is_up_again(cloud: Installation, site: Site) -> None:
    """The last repair left the server SHUTOFF, so its owner starts it."""
    cloud.pileus("up")
    cloud.openstack("server", "start", "first", check=False)  # refused if it runs already
    wait_for("the guest to run again", lambda: shown(cloud)["status"] == "ACTIVE", UP_LIMIT_S)
    wait_for("ssh", lambda: cloud.ssh(floating_address(cloud), "hostname", check=False) == "first", UP_LIMIT_S)
    assert_clean(cloud.state, config=cloud.config)


def shown(cloud: Installation) -> dict[str, Any]:
    return cloud.openstack("server", "show", "first", "-f", "json")


def floating_address(cloud: Installation) -> str:
    addresses = shown(cloud)["addresses"]
    return next(ip for ips in addresses.values() for ip in ips if ip.startswith("172.24.4."))


def test_a_guest_without_its_tap_is_restarted_by_the_running_cloud(cloud: Installation, site: Site) -> None:
    planted = HOST_PLANTS["port-without-tap"](site)
    expect(verdict(cloud.state, config=cloud.config, settle_s=SETTLE_S), "port-without-tap", planted)
    status, repaired = repair(cloud, "--apply")
    assert (status, [item["outcome"] for item in repaired["repairs"]]) == (0, ["done"]), repaired
    wait_for("ssh", lambda: cloud.ssh(floating_address(cloud), "hostname", check=False) == "first", UP_LIMIT_S)
    assert_clean(cloud.state, config=cloud.config)


def test_guests_that_come_and_go_are_no_findings(cloud: Installation, site: Site) -> None:
    looks: list[dict[str, Any]] = []
    boot = ("server", "create", "--image", "pileus-guest", "--flavor", "m1.nano", "--network", "private")
    cloud.openstack(*boot, "--min", "3", "--max", "3", "crowd")

    def crowd() -> list[dict[str, str]]:
        looks.append(verdict(cloud.state, config=cloud.config))
        return cloud.openstack("server", "list", "--name", "crowd", "-f", "json")

    def all_active() -> bool:
        return [server["Status"] for server in crowd()] == ["ACTIVE"] * 3

    wait_for("three guests", all_active, UP_LIMIT_S)
    cloud.openstack("server", "delete", *(server["ID"] for server in crowd()))
    wait_for("their end", lambda: not crowd(), UP_LIMIT_S)
    assert [look["findings"] + look["problems"] for look in looks] == [[]] * len(looks)
    assert_clean(cloud.state, config=cloud.config)


def test_a_deleted_server_leaves_nothing_that_verify_sees(cloud: Installation, site: Site) -> None:
    cloud.openstack("server", "delete", "--wait", "first")
    assert_clean(cloud.state, config=cloud.config)
