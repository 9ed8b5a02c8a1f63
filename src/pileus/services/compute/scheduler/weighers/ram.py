"""Prefers hosts that keep a larger share of their memory free."""

from __future__ import annotations

from pileus.services.compute.scheduler import room
from pileus.services.compute.scheduler.config import SchedulerConfig
from pileus.services.compute.scheduler.facts import MEMORY_MB, HostState, SchedulingRequest


class RamWeigher:
    name = "ram"

    def multiplier(self, config: SchedulerConfig) -> float:
        return config.ram_weight_multiplier

    def weigh(self, request: SchedulingRequest, host: HostState) -> float:
        return room.share_left(host, MEMORY_MB, request.ram_mib)


WEIGHER = RamWeigher()
