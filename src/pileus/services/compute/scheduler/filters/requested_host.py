"""Hosts that the request names, or rules out."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class RequestedHostFilter:
    name = "RequestedHostFilter"
    order = 0
    always = True

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        names = {host.name, host.node} - {""}
        if names & set(request.ignore_hosts):
            return Refusal("the request excludes it")
        if request.force_hosts and not names & set(request.force_hosts):
            return Refusal(f"another host is forced: {', '.join(request.force_hosts)}")
        if request.requested_host and request.requested_host not in names:
            return Refusal(f"another host is requested: {request.requested_host}")
        return None


FILTER = RequestedHostFilter()
