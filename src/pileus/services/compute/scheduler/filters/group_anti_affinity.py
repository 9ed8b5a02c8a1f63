"""Server groups with the policy `anti-affinity`: at most so many members on one host."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class ServerGroupAntiAffinityFilter:
    name = "ServerGroupAntiAffinityFilter"
    order = 93
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        group = request.group
        if group is None or group.policy != "anti-affinity":
            return None
        if group.members_by_host.get(host.name, 0) < group.max_server_per_host:
            return None
        return Refusal("it has as many of the group's servers as the group allows")


FILTER = ServerGroupAntiAffinityFilter()
