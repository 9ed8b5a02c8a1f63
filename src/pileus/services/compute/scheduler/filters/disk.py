"""Hosts with enough disk left. Placement claims too; this filter says by how much a host falls short."""

from __future__ import annotations

from pileus.services.compute.scheduler import room
from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import DISK_GB, HostState, SchedulingRequest


class DiskFilter:
    name = "DiskFilter"
    order = 72
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        return room.refusal(host, DISK_GB, request.disk_gib, "GiB")


FILTER = DiskFilter()
