"""Allocation candidates over HTTP: single hosts, trees, sharing, granular groups; what is offered can be claimed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .client import Placement, new_id

SERVICES = ("identity", "placement")


@pytest.fixture(autouse=True)
def _empty(placement: Placement) -> Iterator[None]:
    """Each test has the cloud for itself."""
    yield
    consumers: set[str] = set()
    found = placement.ok("GET", "/resource_providers")["resource_providers"]
    for provider in found:
        given = placement.ok("GET", f"/resource_providers/{provider['uuid']}/allocations")["allocations"]
        consumers |= given.keys()
    for consumer in consumers:
        placement.ok("DELETE", f"/allocations/{consumer}")
    while found:
        for provider in found:
            placement.send("DELETE", f"/resource_providers/{provider['uuid']}")
        found = placement.ok("GET", "/resource_providers")["resource_providers"]


def test_hosts_with_room_are_offered_and_can_be_claimed(placement: Placement) -> None:
    big = placement.provider(inventory={"VCPU": 4, "MEMORY_MB": 4096})
    small = placement.provider(inventory={"VCPU": 4, "MEMORY_MB": 512})
    query = "resources=VCPU:2,MEMORY_MB:1024"
    answer = placement.ok("GET", f"/allocation_candidates?{query}")
    (offer,) = answer["allocation_requests"]
    assert offer == {
        "allocations": {big: {"resources": {"VCPU": 2, "MEMORY_MB": 1024}}}, "mappings": {"": [big]},
    }
    assert answer["provider_summaries"] == {
        big: {
            "resources": {"VCPU": {"capacity": 4, "used": 0}, "MEMORY_MB": {"capacity": 4096, "used": 0}},
            "traits": [], "parent_provider_uuid": None, "root_provider_uuid": big,
        }
    }
    body = {**offer, "project_id": "p", "user_id": "u", "consumer_generation": None, "consumer_type": "INSTANCE"}
    for _ in range(2):
        placement.ok("PUT", f"/allocations/{new_id()}", body)
    assert placement.candidates(query) == []
    assert placement.candidates("resources=MEMORY_MB:256") == [{big: {"MEMORY_MB": 256}}, {small: {"MEMORY_MB": 256}}]
    assert len(placement.candidates("resources=MEMORY_MB:256&limit=1")) == 1


def test_traits_and_aggregates_choose_hosts(placement: Placement) -> None:
    aggregate = new_id()
    fast = placement.provider(inventory={"VCPU": 4}, traits=("HW_CPU_X86_AVX2",), aggregates=(aggregate,))
    slow = placement.provider(inventory={"VCPU": 4})
    one = "resources=VCPU:1"
    assert placement.candidates(f"{one}&required=HW_CPU_X86_AVX2") == [{fast: {"VCPU": 1}}]
    assert placement.candidates(f"{one}&required=!HW_CPU_X86_AVX2") == [{slow: {"VCPU": 1}}]
    assert placement.candidates(f"{one}&member_of={aggregate}") == [{fast: {"VCPU": 1}}]
    assert placement.candidates(f"{one}&member_of=!{aggregate}") == [{slow: {"VCPU": 1}}]
    assert placement.candidates(f"{one}&in_tree={slow}") == [{slow: {"VCPU": 1}}]
    assert placement.candidates(f"{one}&root_required=HW_CPU_X86_AVX2") == [{fast: {"VCPU": 1}}]


def test_trees_and_shared_storage(placement: Placement) -> None:
    aggregate = new_id()
    host = placement.provider(inventory={"MEMORY_MB": 1024, "DISK_GB": 10}, aggregates=(aggregate,))
    numa = [placement.provider(parent=host, inventory={"VCPU": 2}) for _ in range(2)]
    store = placement.provider(
        inventory={"DISK_GB": 1000}, traits=("MISC_SHARES_VIA_AGGREGATE",), aggregates=(aggregate,)
    )
    found = placement.candidates("resources=VCPU:2,MEMORY_MB:512,DISK_GB:50")
    assert sorted(found, key=str) == sorted(
        [{node: {"VCPU": 2}, host: {"MEMORY_MB": 512}, store: {"DISK_GB": 50}} for node in numa], key=str
    )
    assert len(placement.candidates("resources=VCPU:2,MEMORY_MB:512,DISK_GB:5")) == 4
    assert placement.candidates("resources=VCPU:2,MEMORY_MB:512,DISK_GB:50", version="1.28") == []
    assert placement.candidates("resources=VCPU:3") == []
    apart = placement.candidates("resources1=VCPU:1&resources2=VCPU:1&group_policy=isolate")
    assert apart == [{node: {"VCPU": 1} for node in numa}] * 2  # which group is served by which node differs
    anyhow = placement.candidates("resources1=VCPU:1&resources2=VCPU:1&group_policy=none")
    assert anyhow.count({numa[0]: {"VCPU": 2}}) == 1
    assert len(anyhow) == 4
    full = placement.candidates("resources1=VCPU:2&resources2=VCPU:2&group_policy=none")
    assert full == [{node: {"VCPU": 2} for node in numa}] * 2


def test_groups_in_one_subtree(placement: Placement) -> None:
    host = placement.provider(inventory={"MEMORY_MB": 1024})
    pairs = []
    for _ in range(2):
        numa = placement.provider(parent=host, inventory={"VCPU": 4})
        pairs.append((numa, placement.provider(parent=numa, inventory={"VGPU": 1})))
    groups = "resources_CPU=VCPU:1&resources_GPU=VGPU:1&group_policy=none"
    assert len(placement.candidates(groups)) == 4
    near = placement.candidates(f"{groups}&same_subtree=_CPU,_GPU")
    assert near == [{numa: {"VCPU": 1}, gpu: {"VGPU": 1}} for numa, gpu in pairs]


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("", "1.39"), ("required=HW_CPU_X86_VMX", "1.39"), ("resources=VCPU", "1.39"), ("resources=NOPE:1", "1.39"),
        ("resources=VCPU:1&limit=0", "1.39"), ("resources=VCPU:1&limit=x", "1.39"), ("resources=VCPU:1&x=y", "1.39"),
        ("resources=VCPU:1&required=NOPE", "1.39"), ("resources1=VCPU:1&resources2=VCPU:1", "1.39"),
        ("resources=VCPU:1&required2=HW_CPU_X86_VMX", "1.39"), ("resources=VCPU:1&group_policy=odd", "1.39"),
        ("resources=VCPU:1&same_subtree=_X", "1.39"), ("resources=VCPU:1&in_tree=x", "1.39"),
        ("resources=VCPU:1&member_of=x", "1.39"), ("resources=VCPU:99999999999", "1.39"),
        ("resources=VCPU:1&limit=5", "1.15"), ("resources=VCPU:1&required=HW_CPU_X86_VMX", "1.16"),
        ("resources1=VCPU:1", "1.24"), ("resources_A=VCPU:1", "1.32"),
        ("resources=VCPU:1&required=in:HW_CPU_X86_VMX,HW_CPU_X86_SSE", "1.38"),
    ],
)
def test_bad_requests_are_refused(placement: Placement, query: str, version: str) -> None:
    assert placement.error("GET", f"/allocation_candidates?{query}", version=version)[0] == 400


def test_the_list_form_before_1_12(placement: Placement) -> None:
    host = placement.provider(inventory={"VCPU": 4, "DISK_GB": 5})
    answer = placement.ok("GET", "/allocation_candidates?resources=VCPU:1", version="1.10")
    assert answer["allocation_requests"] == [
        {"allocations": [{"resource_provider": {"uuid": host}, "resources": {"VCPU": 1}}]}
    ]
    assert answer["provider_summaries"] == {host: {"resources": {"VCPU": {"capacity": 4, "used": 0}}}}
