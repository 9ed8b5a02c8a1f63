"""Extra specs `aggregate_instance_extra_specs:key`: an aggregate of the host must have metadata `key` that matches."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest
from pileus.services.compute.scheduler.spec_operators import matches

SCOPE = "aggregate_instance_extra_specs:"


class AggregateInstanceExtraSpecsFilter:
    name = "AggregateInstanceExtraSpecsFilter"
    order = 50
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        for spec, wanted in sorted(request.extra_specs.items()):
            if not spec.startswith(SCOPE):
                continue
            key = spec.removeprefix(SCOPE)
            values = [
                value.strip()
                for aggregate in host.aggregates
                if key in aggregate.metadata
                for value in aggregate.metadata[key].split(",")
            ]
            if not any(matches(wanted, value) for value in values):
                return Refusal(f"none of its aggregates has {key} {wanted}")
        return None


FILTER = AggregateInstanceExtraSpecsFilter()
