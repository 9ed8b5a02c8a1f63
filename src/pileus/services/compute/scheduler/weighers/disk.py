"""Prefers hosts that keep a larger share of their disk free."""

from __future__ import annotations

from pileus.services.compute.scheduler import room
from pileus.services.compute.scheduler.config import SchedulerConfig
from pileus.services.compute.scheduler.facts import DISK_GB, HostState, SchedulingRequest


class DiskWeigher:
    name = "disk"

    def multiplier(self, config: SchedulerConfig) -> float:
        return config.disk_weight_multiplier

    def weigh(self, request: SchedulingRequest, host: HostState) -> float:
        return room.share_left(host, DISK_GB, request.disk_gib)


WEIGHER = DiskWeigher()
