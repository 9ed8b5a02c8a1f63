"""What a scheduling decision is made from: the request and the state of each host, as they were when gathered."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

GroupPolicy = Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]

VCPU, MEMORY_MB, DISK_GB = "VCPU", "MEMORY_MB", "DISK_GB"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The server group that the new servers belong to.

    members_by_host: how many live members are on each host now. max_server_per_host: of the anti-affinity rule.
    """

    id: str
    policy: GroupPolicy
    members_by_host: dict[str, int] = {}
    max_server_per_host: int = 1


class SchedulingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One or more equal servers that need a host each.

    seed: decides between hosts of equal weight; give the server's id. disk_gib: root, ephemeral and swap together.
    count: how many servers. candidates: resource provider ids that placement offered for the flavor, or None when
    placement was not asked. requested_host: must be that host, and pass the filters. force_hosts: must be one of these;
    the filters are not asked. ignore_hosts: never these. same_host, different_host: server ids named by hints, and
    server_hosts says where those servers are now. hints: all hints, for filters of third parties.
    """

    seed: str
    vcpus: int = 0
    ram_mib: int = 0
    disk_gib: int = 0
    count: int = 1
    extra_specs: dict[str, str] = {}
    image_properties: dict[str, str] = {}
    project_id: str = ""
    availability_zone: str | None = None
    candidates: frozenset[str] | None = None
    requested_host: str | None = None
    force_hosts: tuple[str, ...] = ()
    ignore_hosts: tuple[str, ...] = ()
    same_host: tuple[str, ...] = ()
    different_host: tuple[str, ...] = ()
    server_hosts: dict[str, str] = {}
    group: Group | None = None
    hints: dict[str, Any] = {}

    def needs(self) -> dict[str, int]:
        """Amounts per resource class, without those that are zero."""
        amounts = {VCPU: self.vcpus, MEMORY_MB: self.ram_mib, DISK_GB: self.disk_gib}
        return {name: amount for name, amount in amounts.items() if amount > 0}


class Capacity(msgspec.Struct, frozen=True):
    """One resource class of a host. capacity: (total - reserved) * allocation ratio, rounded down. used: claimed.

    max_unit: the most that one server may have; None when it is not known.
    """

    capacity: int
    used: int = 0
    max_unit: int | None = None

    @property
    def free(self) -> int:
        """What is left; below zero when inventory shrank under its claims."""
        return self.capacity - self.used


class Aggregate(msgspec.Struct, frozen=True):
    """A host aggregate that a host is in."""

    id: int
    name: str
    metadata: dict[str, str] = {}


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """One compute host.

    provider_id: its resource provider. node: hypervisor hostname. capacity: by resource class; a class that is missing
    is not offered. arch: as the guest would see it (`x86_64`). builds_in_progress: servers being built there now.
    """

    name: str
    provider_id: str
    node: str = ""
    zone: str = "nova"
    enabled: bool = True
    disabled_reason: str | None = None
    up: bool = True
    capacity: dict[str, Capacity] = {}
    traits: frozenset[str] = frozenset()
    aggregates: tuple[Aggregate, ...] = ()
    hypervisor_type: str = ""
    hypervisor_version: int = 0
    arch: str = ""
    vm_mode: str = "hvm"
    builds_in_progress: int = 0

    def with_one_more(self, needs: dict[str, int]) -> HostState:
        """The host as it is once one more server with these needs builds on it."""
        capacity = dict(self.capacity)
        for name, amount in needs.items():
            if (old := capacity.get(name)) is not None:
                capacity[name] = msgspec.structs.replace(old, used=old.used + amount)
        return msgspec.structs.replace(self, capacity=capacity, builds_in_progress=self.builds_in_progress + 1)
