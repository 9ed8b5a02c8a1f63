"""Two hundred servers on one fake host, as two hundred requests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from actors import Shop

from cloud import Cloud
from pileus.services.compute.worker.agent import ComputeAgent

COUNT = 200
AT_ONCE = 16
LIMIT_S = 180.0


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    tables = {"compute": {"agent": {"hypervisor": "fake", "fake_vcpus": 1_000, "fake_ram_mib": 1_000_000}}}
    with Cloud(tmp_path_factory.mktemp("cloud"), tables=tables) as running:
        yield running


def test_two_hundred_single_requests_are_all_active_and_all_different(shop: Shop, cloud: Cloud, tmp_path: Path) -> None:
    project = shop.user.project_id
    flavor = shop.make_flavor("fly", ram=64, vcpus=1, disk=0)
    unlimited = {"instances": -1, "cores": -1, "ram": -1}
    assert shop.admin.ask("PUT", f"/os-quota-sets/{project}", {"quota_set": unlimited}).status_code == 200
    cloud.request("PUT", f"/network/v2.0/quotas/{project}", token=shop.admin.token, json={"quota": {"port": -1}})

    def boot(number: int) -> str:
        return shop.boot(f"fly{number}", flavorRef=flavor)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ids = list(pool.map(boot, range(COUNT)))
    for server_id in ids:
        shop.user.until_status(server_id, "ACTIVE", timeout_s=LIMIT_S)

    servers = [shop.user.server(server_id) for server_id in ids]
    plugs = [each for server in servers for ips in server["addresses"].values() for each in ips]
    addresses, macs = {each["addr"] for each in plugs}, {each["OS-EXT-IPS-MAC:mac_addr"] for each in plugs}
    assert len(set(ids)) == len(addresses) == len(macs) == COUNT

    assert cloud.node is not None
    agent = cloud.node.runtimes["compute"].get(ComputeAgent)
    guests = cloud.run(agent.hypervisor.list_guests())
    assert {guest.server_id for guest in guests if guest.power_state == "running"} >= set(ids)
    providers = cloud.request("GET", "/placement/resource_providers", token=shop.admin.token).json()
    usages = cloud.request(
        "GET", f"/placement/resource_providers/{providers['resource_providers'][0]['uuid']}/usages",
        token=shop.admin.token, headers={"OpenStack-API-Version": "placement 1.39"},
    ).json()["usages"]
    assert usages["VCPU"] == len(guests)
