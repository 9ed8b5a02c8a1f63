"""Hint `different_host`: hosts that have none of the named servers."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class DifferentHostFilter:
    name = "DifferentHostFilter"
    order = 91
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        if any(request.server_hosts.get(one) == host.name for one in request.different_host):
            return Refusal("a server named by different_host is there")
        return None


FILTER = DifferentHostFilter()
