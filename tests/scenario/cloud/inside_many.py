"""Twenty real guests from one request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.scenario.cloud.installation import Installation, run, wait_for

COUNT = 20
BOOT_LIMIT_S = 600.0


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installed = Installation(tmp_path_factory.mktemp("cloud"))
    installed.pileus("up")
    try:
        yield installed
    finally:
        installed.tear_down()


def test_twenty_guests_of_one_request_are_active_and_answer(cloud: Installation) -> None:
    cloud.demo()
    cloud.openstack("quota", "set", "--instances", "30", "--cores", "30", "demo", cloud="pileus-admin")
    cloud.openstack("server", "create", "--image", "pileus-guest", "--flavor", "m1.nano", "--network", "private",
                    "--key-name", "demo", "--min", str(COUNT), "--max", str(COUNT), "crowd")  # fmt: skip

    def crowd() -> list[dict[str, str]]:
        return cloud.openstack("server", "list", "--name", "crowd", "-f", "json", "--long")

    def all_active() -> bool:
        states = [server["Status"] for server in crowd()]
        assert "ERROR" not in states, cloud.openstack("server", "list", "--long")
        return states.count("ACTIVE") == COUNT

    wait_for("all ACTIVE", all_active, BOOT_LIMIT_S)
    router = cloud.openstack("router", "show", "router", "-f", "json")["id"]
    addresses = {ip for server in crowd() for ips in server["Networks"].values() for ip in ips}
    assert len(addresses) == COUNT
    for address in addresses:
        ping = ("ip", "netns", "exec", f"qrouter-{router}", "ping", "-c", "1", "-W", "2", address)
        wait_for(f"an answer of {address}", lambda ping=ping: run(*ping, check=False).returncode == 0, 180)
