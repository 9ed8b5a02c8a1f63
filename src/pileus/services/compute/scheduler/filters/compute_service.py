"""Hosts whose compute service is up and enabled."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class ComputeFilter:
    name = "ComputeFilter"
    order = 10
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        if not host.up:
            return Refusal("its compute service is down")
        if not host.enabled:
            return Refusal(f"it is disabled ({host.disabled_reason})" if host.disabled_reason else "it is disabled")
        return None


FILTER = ComputeFilter()
