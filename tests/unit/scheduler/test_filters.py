"""Each filter, and each weigher, by what it prefers and turns down."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pileus.services.compute.scheduler import Aggregate, Capacity, Group, HostState, SchedulerConfig, filters, select
from pileus.services.compute.scheduler.spec_operators import matches

from .facts import host, request


def _refused_by(wanted: dict[str, Any], facts: dict[str, Any]) -> str | None:
    decision = select(request(**wanted), [host(**facts)])
    return decision.refusals[0].filter if decision.refusals else None


FAST = (Aggregate(1, "fast", {"ssd": "true", "cpus": "8"}),)
KEPT = (Aggregate(2, "kept", {"filter_tenant_id": "p1,p2", "filter_tenant_id_more": "p3"}),)


@pytest.mark.parametrize(
    ("wanted", "facts", "refused_by"),
    [
        ({}, {}, None),
        ({}, {"up": False}, "ComputeFilter"),
        ({}, {"enabled": False, "disabled_reason": "repair"}, "ComputeFilter"),
        ({"availability_zone": "az2"}, {}, "AvailabilityZoneFilter"),
        ({"availability_zone": "az2"}, {"zone": "az2"}, None),
        ({"ram_mib": 8_193}, {}, "RamFilter"),
        ({"ram_mib": 8_192}, {}, None),
        ({"vcpus": 9}, {}, "CoreFilter"),
        ({"disk_gib": 101}, {}, "DiskFilter"),
        ({"vcpus": 0, "ram_mib": 0, "disk_gib": 0}, {"capacity": {}}, None),
        ({}, {"capacity": {}}, "RamFilter"),
        ({"vcpus": 4}, {"capacity": {**host().capacity, "VCPU": Capacity(32, 0, 2)}}, "CoreFilter"),
        ({"candidates": frozenset()}, {}, "PlacementFilter"),
        ({"candidates": frozenset({"provider-host0"})}, {}, None),
        ({"ignore_hosts": ("host0",)}, {}, "RequestedHostFilter"),
        ({"image_properties": {"hw_architecture": "aarch64"}}, {}, "ImagePropertiesFilter"),
        ({"image_properties": {"architecture": "amd64"}}, {}, None),
        ({"image_properties": {"hw_architecture": "i686"}}, {}, None),
        ({"image_properties": {"hw_architecture": "x86_64"}}, {"arch": "i686"}, "ImagePropertiesFilter"),
        ({"image_properties": {"img_hv_type": "kvm"}}, {}, None),
        ({"image_properties": {"img_hv_type": "xen"}}, {}, "ImagePropertiesFilter"),
        ({"image_properties": {"hw_vm_mode": "exe"}}, {}, "ImagePropertiesFilter"),
        ({"image_properties": {"img_hv_requested_version": ">=7.0,<8"}}, {}, None),
        ({"image_properties": {"img_hv_requested_version": ">=8"}}, {}, "ImagePropertiesFilter"),
        ({"image_properties": {"img_hv_requested_version": "nonsense"}}, {}, "ImagePropertiesFilter"),
        ({"extra_specs": {"aggregate_instance_extra_specs:ssd": "true"}}, {}, "AggregateInstanceExtraSpecsFilter"),
        ({"extra_specs": {"aggregate_instance_extra_specs:ssd": "true"}}, {"aggregates": FAST}, None),
        ({"extra_specs": {"aggregate_instance_extra_specs:cpus": ">= 4"}}, {"aggregates": FAST}, None),
        ({"extra_specs": {"capabilities:hypervisor_type": "s== QEMU"}}, {}, None),
        ({"extra_specs": {"capabilities:hypervisor_type": "Xen"}}, {}, "ComputeCapabilitiesFilter"),
        ({"extra_specs": {"capabilities:free_ram_mb": ">= 9000"}}, {}, "ComputeCapabilitiesFilter"),
        ({"extra_specs": {"hw:cpu_policy": "shared"}}, {}, None),
        ({"project_id": "p4"}, {"aggregates": KEPT}, "AggregateMultiTenancyIsolation"),
        ({"project_id": "p3"}, {"aggregates": KEPT}, None),
        ({"same_host": ("s1",), "server_hosts": {"s1": "host0"}}, {}, None),
        ({"same_host": ("s1",), "server_hosts": {"s1": "host1"}}, {}, "SameHostFilter"),
        ({"same_host": ("gone",)}, {}, "SameHostFilter"),
        ({"different_host": ("s1",), "server_hosts": {"s1": "host0"}}, {}, "DifferentHostFilter"),
        ({"different_host": ("s1",), "server_hosts": {"s1": "host1"}}, {}, None),
    ],
)
def test_a_filter_turns_down_what_does_not_fit(
    wanted: dict[str, Any], facts: dict[str, Any], refused_by: str | None
) -> None:
    assert _refused_by(wanted, facts) == refused_by


def _hosts() -> list[HostState]:
    return [host(f"host{number}") for number in range(3)]


def test_groups_keep_servers_together_or_apart() -> None:
    together = Group(id="g", policy="affinity")
    assert len(set(select(request(group=together, count=3), _hosts()).assignments)) == 1
    there = Group(id="g", policy="affinity", members_by_host={"host2": 1})
    assert select(request(group=there), _hosts()).chosen == "host2"
    apart = Group(id="g", policy="anti-affinity")
    assert len(set(select(request(group=apart, count=3), _hosts()).assignments)) == 3
    assert select(request(group=apart, count=4), _hosts()).assignments == ()
    two_each = Group(id="g", policy="anti-affinity", max_server_per_host=2)
    assert len(select(request(group=two_each, count=6), _hosts()).assignments) == 6


def test_soft_groups_bend_before_they_break() -> None:
    apart = Group(id="g", policy="soft-anti-affinity")
    assigned = select(request(group=apart, count=4), _hosts()).assignments
    assert sorted(assigned.count(one.name) for one in _hosts()) == [1, 1, 2]
    together = Group(id="g", policy="soft-affinity", members_by_host={"host1": 1})
    assert set(select(request(group=together, count=2), _hosts()).assignments) == {"host1"}
    hosts = [one if one.name != "host1" else msgspec.structs.replace(one, up=False) for one in _hosts()]
    assert select(request(group=together), hosts).chosen in ("host0", "host2")


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("ram", {"capacity": {**host().capacity, "MEMORY_MB": Capacity(8_192, 4_096)}}),
        ("cpu", {"capacity": {**host().capacity, "VCPU": Capacity(8, 4)}}),
        ("disk", {"capacity": {**host().capacity, "DISK_GB": Capacity(100, 50)}}),
        ("build", {"builds_in_progress": 3}),
    ],
)
def test_a_weigher_prefers_the_freer_host_unless_turned_round(name: str, facts: dict[str, Any]) -> None:
    hosts = [host("busy", **facts), host("idle")]
    assert select(request(), hosts).chosen == "idle"
    packed = msgspec.convert({f"{name}_weight_multiplier": -5.0}, SchedulerConfig)
    assert select(request(), hosts, packed).chosen == "busy"


def test_operators_choose_filters_by_name() -> None:
    down = host(up=False, zone="az2")
    only_zones = SchedulerConfig(enabled_filters=("AvailabilityZoneFilter",))
    assert select(request(availability_zone="az2"), [down], only_zones).chosen == "host0"
    assert select(request(ignore_hosts=("host0",)), [down], only_zones).chosen is None
    with pytest.raises(ValueError, match="NoSuchFilter"):
        filters.enabled(("NoSuchFilter",))


@pytest.mark.parametrize(
    ("wanted", "value", "fits"),
    [
        ("x", "x", True), ("x", "y", False), ("= 4", "5", True), (">= 4", "3", False), ("<= 4", "4", True),
        ("== 4", "4.0", True), ("!= 4", "4", False), (">= 4", "many", False), ("s== a b", "a b", True),
        ("s!= a", "a", False), ("<in> ss", "lass", True), ("<in> ss", "s", False), ("<all-in> a b", "cab", True),
        ("<all-in> a z", "cab", False), ("<or> a <or> b", "b", True), ("<or> a <or> b", "c", False), ("", "", True),
    ],
)
def test_the_operators_of_extra_specs(wanted: str, value: str, fits: bool) -> None:
    assert matches(wanted, value) is fits
