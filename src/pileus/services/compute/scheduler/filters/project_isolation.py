"""Aggregates that keep their hosts for some projects: metadata `filter_tenant_id`, with or without a suffix.

The value is one project id or several with commas between; keys `filter_tenant_id1`, `filter_tenant_id_x` add more.
"""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest

KEY = "filter_tenant_id"


class AggregateMultiTenancyIsolation:
    name = "AggregateMultiTenancyIsolation"
    order = 30
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        allowed = {
            project.strip()
            for aggregate in host.aggregates
            for key, value in aggregate.metadata.items()
            if key.startswith(KEY)
            for project in value.split(",")
        }
        if not allowed or request.project_id in allowed:
            return None
        return Refusal("it is kept for other projects")


FILTER = AggregateMultiTenancyIsolation()
