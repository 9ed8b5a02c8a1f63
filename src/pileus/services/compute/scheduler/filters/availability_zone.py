"""Hosts in the requested availability zone."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class AvailabilityZoneFilter:
    name = "AvailabilityZoneFilter"
    order = 20
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        if request.availability_zone is None or host.zone == request.availability_zone:
            return None
        return Refusal(f"it is in zone {host.zone}, not {request.availability_zone}")


FILTER = AvailabilityZoneFilter()
