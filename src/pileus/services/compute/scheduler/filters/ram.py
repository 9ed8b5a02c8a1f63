"""Hosts with enough memory left. Placement claims too; this filter says by how much a host falls short."""

from __future__ import annotations

from pileus.services.compute.scheduler import room
from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import MEMORY_MB, HostState, SchedulingRequest


class RamFilter:
    name = "RamFilter"
    order = 70
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        return room.refusal(host, MEMORY_MB, request.ram_mib, "MiB")


FILTER = RamFilter()
