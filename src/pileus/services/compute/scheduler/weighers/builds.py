"""Prefers hosts that build fewer servers now: builds load disk and processor before they show in any inventory."""

from __future__ import annotations

from pileus.services.compute.scheduler.config import SchedulerConfig
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class BuildsWeigher:
    name = "builds"

    def multiplier(self, config: SchedulerConfig) -> float:
        return config.build_weight_multiplier

    def weigh(self, request: SchedulingRequest, host: HostState) -> float:
        return 1.0 / (1 + host.builds_in_progress)


WEIGHER = BuildsWeigher()
