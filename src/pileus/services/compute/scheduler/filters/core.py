"""Hosts with enough virtual CPUs left. Placement claims too; this filter says by how much a host falls short."""

from __future__ import annotations

from pileus.services.compute.scheduler import room
from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import VCPU, HostState, SchedulingRequest


class CoreFilter:
    name = "CoreFilter"
    order = 71
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        return room.refusal(host, VCPU, request.vcpus, "vCPUs")


FILTER = CoreFilter()
