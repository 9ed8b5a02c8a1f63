"""Subnet pools."""

from __future__ import annotations

import pytest

from .client import Caller

SERVICES = ("identity", "network")


def test_subnets_are_cut_from_a_pool_until_it_is_empty(alice: Caller) -> None:
    pool = alice.make("subnetpools", name="p", prefixes=["10.0.1.0/24", "10.0.0.0/24"], default_prefixlen=25)
    assert (pool["ip_version"], pool["prefixes"], pool["min_prefixlen"]) == (4, ["10.0.0.0/23"], 8)
    network = alice.make("networks")
    wanted = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": pool["id"]}
    first = alice.make("subnets", **wanted)
    assert (first["cidr"], first["gateway_ip"], first["subnetpool_id"]) == ("10.0.0.0/25", "10.0.0.1", pool["id"])
    assert alice.make("subnets", cidr="10.0.1.0/25", **wanted)["cidr"] == "10.0.1.0/25"
    assert alice.make("subnets", prefixlen=26, **wanted)["cidr"] == "10.0.0.128/26"
    assert alice.make("subnets", **wanted)["cidr"] == "10.0.1.128/25"
    alice.error("POST", "subnets", {"subnet": wanted}, 409, "SubnetAllocationError")
    alice.error("POST", "subnets", {"subnet": wanted | {"cidr": "10.9.0.0/25"}}, 409, "SubnetAllocationError")
    alice.error("DELETE", f"subnetpools/{pool['id']}", None, 409, "SubnetPoolDeleteError")
    alice.drop("networks", network["id"])
    alice.drop("subnetpools", pool["id"])


def test_a_pool_grows_but_does_not_shrink(alice: Caller, bob: Caller) -> None:
    pool = alice.make("subnetpools", name="p", prefixes=["10.0.0.0/24"])
    changed = alice.set("subnetpools", pool["id"], name="q", prefixes=["10.0.0.0/16"], description="d")
    assert (changed["name"], changed["prefixes"], changed["description"]) == ("q", ["10.0.0.0/16"], "d")
    body = {"subnetpool": {"prefixes": ["10.0.0.0/24"]}}
    alice.error("PUT", f"subnetpools/{pool['id']}", body, 400, "IllegalSubnetPoolPrefixUpdate")
    bob.error("GET", f"subnetpools/{pool['id']}", None, 404, "SubnetPoolNotFound")
    assert bob.list("subnetpools") == []


@pytest.mark.parametrize(
    "values",
    [
        {"prefixes": []}, {"prefixes": ["10.0.0.0/8", "2001:db8::/32"]}, {"min_prefixlen": 40},
        {"min_prefixlen": 24, "default_prefixlen": 20}, {"max_prefixlen": 20, "default_prefixlen": 24},
    ],
)  # fmt: skip
def test_impossible_pools_are_refused(alice: Caller, values: dict[str, object]) -> None:
    body = {"subnetpool": {"name": "p", "prefixes": ["10.0.0.0/8"]} | values}
    alice.error("POST", "subnetpools", body, 400, "InvalidInput")


def test_a_pools_quota_is_per_project(alice: Caller) -> None:
    pool = alice.make("subnetpools", name="p", prefixes=["10.0.0.0/8"], default_quota=300)
    network = alice.make("networks")
    wanted = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": pool["id"], "prefixlen": 24}
    alice.make("subnets", **wanted)
    alice.error("POST", "subnets", {"subnet": wanted}, 409, "SubnetPoolQuotaExceeded")
