"""Requests and hosts for the scheduler's tests, made up by Hypothesis and by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from pileus.services.compute.scheduler import Aggregate, Capacity, Group, HostState, SchedulingRequest

NAMES = tuple(f"host{number}" for number in range(6))


def host(name: str = "host0", *, vcpus: int = 8, ram_mib: int = 8_192, disk_gib: int = 100, **more: Any) -> HostState:
    """An empty host."""
    capacity = {"VCPU": Capacity(vcpus), "MEMORY_MB": Capacity(ram_mib), "DISK_GB": Capacity(disk_gib)}
    facts: dict[str, Any] = {
        "name": name, "provider_id": f"provider-{name}", "node": f"{name}.cloud", "capacity": capacity,
        "hypervisor_type": "QEMU", "hypervisor_version": 7_002_022, "arch": "x86_64",
    }
    return HostState(**(facts | more))


def request(**more: Any) -> SchedulingRequest:
    """One small server."""
    facts: dict[str, Any] = {"seed": "server-1", "vcpus": 1, "ram_mib": 512, "disk_gib": 1}
    return SchedulingRequest(**(facts | more))


def _capacity(most: int) -> st.SearchStrategy[Capacity]:
    return st.builds(Capacity, capacity=st.integers(0, most), used=st.integers(0, most), max_unit=st.none())


def hosts_named(name: str) -> st.SearchStrategy[HostState]:
    return st.builds(
        HostState, name=st.just(name), provider_id=st.just(f"provider-{name}"), node=st.just(f"{name}.cloud"),
        zone=st.sampled_from(["nova", "az2"]), enabled=st.booleans() | st.just(True), up=st.booleans() | st.just(True),
        capacity=st.fixed_dictionaries(
            {"VCPU": _capacity(16), "MEMORY_MB": _capacity(4_096), "DISK_GB": _capacity(50)}
        ),
        aggregates=st.just(()) | st.just((Aggregate(1, "fast", {"ssd": "true"}),)),
        hypervisor_type=st.just("QEMU"), arch=st.sampled_from(["x86_64", "aarch64"]),
        builds_in_progress=st.integers(0, 3),
    )


clouds = st.sets(st.sampled_from(NAMES)).flatmap(
    lambda names: st.tuples(*(hosts_named(name) for name in sorted(names)))
)

groups = st.none() | st.builds(
    Group, id=st.just("g"),
    policy=st.sampled_from(["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]),
    members_by_host=st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3), max_size=3),
    max_server_per_host=st.integers(1, 3),
)

requests = st.builds(
    SchedulingRequest, seed=st.text("abc", min_size=1, max_size=5), vcpus=st.integers(0, 4),
    ram_mib=st.integers(0, 1_024), disk_gib=st.integers(0, 10), count=st.integers(1, 4),
    availability_zone=st.sampled_from([None, None, "nova", "az2"]),
    image_properties=st.sampled_from([{}, {"hw_architecture": "x86_64"}]),
    extra_specs=st.sampled_from([{}, {"aggregate_instance_extra_specs:ssd": "true"}]),
    ignore_hosts=st.sampled_from([(), ("host0",)]), different_host=st.sampled_from([(), ("s1",)]),
    server_hosts=st.just({"s1": "host1"}), group=groups,
)
