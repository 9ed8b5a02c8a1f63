"""Hosts whose resource provider placement offered: traits, aggregates and everything else that only placement knows."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class PlacementFilter:
    name = "PlacementFilter"
    order = 80
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        if request.candidates is None or host.provider_id in request.candidates:
            return None
        wanted = sorted(key.partition(":")[2] for key, value in request.extra_specs.items() if _is_trait(key, value))
        missing = [trait for trait in wanted if trait not in host.traits]
        if missing and host.traits:
            return Refusal(f"it lacks the traits {', '.join(missing)}")
        return Refusal("placement does not offer it for this flavor")


def _is_trait(key: str, value: str) -> bool:
    return key.startswith("trait") and ":" in key and value == "required"


FILTER = PlacementFilter()
