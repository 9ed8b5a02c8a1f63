"""Server groups with a soft policy: together where that is possible, apart where that is possible."""

from __future__ import annotations

from pileus.services.compute.scheduler.config import SchedulerConfig
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class GroupWeigher:
    name = "group"

    def multiplier(self, config: SchedulerConfig) -> float:
        return config.group_weight_multiplier

    def weigh(self, request: SchedulingRequest, host: HostState) -> float:
        group = request.group
        if group is None:
            return 0.0
        members = group.members_by_host.get(host.name, 0)
        if group.policy == "soft-anti-affinity":
            return 1.0 / (1 + members)
        if group.policy == "soft-affinity":
            return 1.0 - 1.0 / (1 + members)
        return 0.0


WEIGHER = GroupWeigher()
