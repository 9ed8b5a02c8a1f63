"""Address arithmetic."""

from __future__ import annotations

import ipaddress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.services.network.logic import addresses
from pileus.services.network.logic.addresses import Range


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.data())
def test_default_pools_hold_every_host_but_the_gateway(number: int, prefix: int, data: st.DataObject) -> None:
    network = ipaddress.ip_network((number, prefix), strict=False)
    hosts = addresses.host_range(network)
    gateway = addresses.address_at(network, data.draw(st.integers(hosts.first, hosts.last)))
    ranges = addresses.pool_ranges(addresses.default_pools(network, gateway))
    assert sum(part.size for part in ranges) == hosts.size - 1
    assert all(not part.first <= int(ipaddress.ip_address(gateway)) <= part.last for part in ranges)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), min_size=1, max_size=4), st.randoms())
def test_candidates_come_from_the_pools_and_differ(parts: list[tuple[int, int]], random: Random) -> None:
    network = ipaddress.ip_network("10.0.0.0/16")
    base = int(network.network_address)
    ranges = [Range(base + 1000 * at + low, base + 1000 * at + low + size) for at, (low, size) in enumerate(parts)]
    found = [int(ipaddress.ip_address(a)) for a in addresses.random_candidates(network, ranges, random)]
    assert found
    assert len(set(found)) == len(found)
    assert all(any(part.first <= number <= part.last for part in ranges) for number in found)


@given(st.sets(st.integers(0, 30)))
def test_free_addresses_are_those_that_are_not_taken(taken: set[int]) -> None:
    network = ipaddress.ip_network("10.0.0.0/24")
    base = int(network.network_address) + 1
    names = {addresses.address_at(network, base + number) for number in taken}
    found = addresses.free_addresses(network, [Range(base, base + 30)], names)
    free = [addresses.address_at(network, base + n) for n in range(31) if n not in taken]
    assert found == free[: addresses.CANDIDATES]


@pytest.mark.parametrize("cidr", ["10.0.0.0/8", "2001:db8::/32", "2001:db8::/64"])
def test_a_huge_pool_costs_no_more_than_a_small_one(cidr: str) -> None:
    network = ipaddress.ip_network(cidr)
    pools = addresses.pool_ranges(addresses.default_pools(network, addresses.default_gateway(network)))
    assert len(addresses.random_candidates(network, pools, Random(1))) == addresses.CANDIDATES
    assert len(addresses.free_addresses(network, pools, ())) == addresses.CANDIDATES


@pytest.mark.parametrize(
    ("cidr", "gateway", "hosts"),
    [("10.0.0.0/30", "10.0.0.1", 2), ("10.0.0.0/31", "10.0.0.0", 2), ("10.0.0.0/32", None, 1),
     ("2001:db8::/127", "2001:db8::", 2), ("2001:db8::/126", "2001:db8::1", 3)],
)  # fmt: skip
def test_the_smallest_subnets(cidr: str, gateway: str | None, hosts: int) -> None:
    network = ipaddress.ip_network(cidr)
    assert addresses.default_gateway(network) == gateway
    assert addresses.host_range(network).size == hosts


@given(st.randoms())
def test_macs_begin_as_configured_and_are_unicast(random: Random) -> None:
    mac = addresses.random_mac("fa:16:3e:00:00:00", random)
    assert mac.startswith("fa:16:3e:")
    assert len(mac) == 17
    assert addresses.random_mac("fa:16:3e:4f:00:00", random).startswith("fa:16:3e:4f:")


def test_a_slaac_address_is_made_of_the_mac() -> None:
    network = ipaddress.ip_network("2001:db8::/64")
    assert addresses.slaac_address(network, "fa:16:3e:00:00:01") == "2001:db8::f816:3eff:fe00:1"
