"""Compute's client of placement against the real service, in one process, as the conductor uses it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from typing import Any

import pytest

from cloud import Cloud
from pileus.kernel.errors import RemoteError
from pileus.services.compute.clients.placement import Inventory, PlacementClient

SERVICES = ("identity", "placement")
FLAVOR = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 0}
OWNER: dict[str, Any] = {"project_id": "p", "user_id": "u"}


def new_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture(scope="module")
def client(cloud: Cloud) -> PlacementClient:
    assert cloud.node is not None
    return PlacementClient(cloud.node.runtimes["placement"].session)


def _run(cloud: Cloud, work: Coroutine[Any, Any, Any]) -> Any:
    return cloud.run(work)


async def _host(client: PlacementClient, vcpus: int = 4) -> str:
    host = new_id()
    await client.ensure_provider(host, f"host-{host}")
    await client.set_inventory(host, {"VCPU": Inventory(total=vcpus), "MEMORY_MB": Inventory(total=4_096, reserved=96)})
    return host


def test_an_agent_may_report_again_and_again(cloud: Cloud, client: PlacementClient) -> None:
    async def scenario() -> None:
        host = new_id()
        made = await client.ensure_provider(host, f"name-{host}")
        assert made == await client.ensure_provider(host, f"name-{host}")
        assert (await client.ensure_provider(host, f"new-{host}")).name == f"new-{host}"
        stock = {"VCPU": Inventory(total=4, allocation_ratio=4.0)}
        assert [await client.set_inventory(host, stock) for _ in range(2)] == [True, False]
        assert (await client.inventory(host))["VCPU"].capacity == 16
        traits = {"COMPUTE_NODE", "CUSTOM_TCG"}
        assert [await client.set_traits(host, traits) for _ in range(2)] == [True, False]
        assert await client.traits(host) == traits
        aggregate = new_id()
        assert [await client.set_aggregates(host, [aggregate]) for _ in range(2)] == [True, False]
        assert [one.uuid for one in await client.providers(in_tree=host)] == [host]
        await client.delete_provider(host)
        await client.delete_provider(host)
        assert await client.provider(host) is None

    _run(cloud, scenario())


def test_candidates_are_claimed_and_released(cloud: Cloud, client: PlacementClient) -> None:
    async def scenario() -> None:
        host, server = await _host(client), new_id()
        found = await client.allocation_candidates(FLAVOR, in_tree=host)
        (candidate,) = found.by_root[host]
        assert candidate.allocations == {host: {"VCPU": 1, "MEMORY_MB": 512}}
        assert found.summaries[host].resources == {"VCPU": (4, 0), "MEMORY_MB": (4_000, 0)}
        for _ in range(2):  # a flow's step may run twice
            assert await client.claim(server, candidate.allocations, mappings=candidate.mappings, **OWNER)
        held = await client.allocations_of(server)
        assert (held.allocations, held.consumer_type, held.generation) == (candidate.allocations, "INSTANCE", 1)
        assert await client.claims_on(host) == {server: {"VCPU": 1, "MEMORY_MB": 512}}
        assert await client.usages(host) == {"VCPU": 1, "MEMORY_MB": 512}
        assert [await client.release(server) for _ in range(2)] == [True, False]
        assert await client.usages(host) == {"VCPU": 0, "MEMORY_MB": 0}

    _run(cloud, scenario())


def test_a_claim_without_room_says_so_and_a_claim_elsewhere_replaces(cloud: Cloud, client: PlacementClient) -> None:
    async def scenario() -> None:
        small, large, server = await _host(client, 1), await _host(client, 8), new_id()
        assert not await client.claim(server, {small: {"VCPU": 2}}, **OWNER)
        assert (await client.allocations_of(server)).allocations == {}
        assert await client.claim(server, {small: {"VCPU": 1}}, **OWNER)
        assert await client.claim(server, {large: {"VCPU": 2}}, **OWNER)
        assert (await client.usages(small))["VCPU"] == 0
        with pytest.raises(RemoteError) as refused:
            await client.claim(new_id(), {new_id(): {"VCPU": 1}}, **OWNER)
        assert refused.value.code == 400

    _run(cloud, scenario())


def test_writers_at_once_all_get_their_way_in_turn(cloud: Cloud, client: PlacementClient) -> None:
    async def scenario() -> None:
        host = await _host(client)
        claims = [client.claim(new_id(), {host: {"VCPU": 1}}, **OWNER) for _ in range(8)]
        traits = [client.set_traits(host, {f"CUSTOM_T{number}"}) for number in range(3)]
        results = await asyncio.gather(*claims, *traits)
        assert results[:8].count(True) == 4
        assert len(await client.traits(host)) == 1

    _run(cloud, scenario())
