"""Which host takes a server: pure decisions over facts that the caller gathered. No I/O, no clock, no chance."""

from pileus.services.compute.scheduler.config import SchedulerConfig
from pileus.services.compute.scheduler.decision import Decision, FilterReport, Ranked
from pileus.services.compute.scheduler.facts import Aggregate, Capacity, Group, HostState, SchedulingRequest
from pileus.services.compute.scheduler.select import select

__all__ = [
    "Aggregate", "Capacity", "Decision", "FilterReport", "Group", "HostState", "Ranked", "SchedulerConfig",
    "SchedulingRequest", "select",
]
