"""Prefers hosts that keep a larger share of their virtual CPUs free."""

from __future__ import annotations

from pileus.services.compute.scheduler import room
from pileus.services.compute.scheduler.config import SchedulerConfig
from pileus.services.compute.scheduler.facts import VCPU, HostState, SchedulingRequest


class CpuWeigher:
    name = "cpu"

    def multiplier(self, config: SchedulerConfig) -> float:
        return config.cpu_weight_multiplier

    def weigh(self, request: SchedulingRequest, host: HostState) -> float:
        return room.share_left(host, VCPU, request.vcpus)


WEIGHER = CpuWeigher()
