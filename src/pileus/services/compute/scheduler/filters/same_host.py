"""Hint `same_host`: hosts that have one of the named servers."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class SameHostFilter:
    name = "SameHostFilter"
    order = 90
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        if not request.same_host or any(request.server_hosts.get(one) == host.name for one in request.same_host):
            return None
        return Refusal("none of the servers named by same_host is there")


FILTER = SameHostFilter()
