"""Server groups with the policy `affinity`: the host of the members there are."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class ServerGroupAffinityFilter:
    name = "ServerGroupAffinityFilter"
    order = 92
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        group = request.group
        if group is None or group.policy != "affinity":
            return None
        if not any(group.members_by_host.values()) or group.members_by_host.get(host.name):
            return None
        return Refusal("the group's servers are on another host")


FILTER = ServerGroupAffinityFilter()
