"""Every option of the compute service."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pileus.services.compute.scheduler import SchedulerConfig
from pileus.services.compute.worker.config import AgentConfig

Ratio = Annotated[float, msgspec.Meta(gt=0)]


class ComputeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[compute]` table.

    agent, scheduler: tables of their own. *_allocation_ratio: how often a host's resource is given out; processors of
    guests that mostly wait may be shared by many. reserved_*: kept for the host itself. quotas: default limits
    by resource name, over the built-in ones. deleted_kept_days: how long the rows of deleted servers stay for usage and
    history. build_concurrency: how many flows one conductor runs at once.
    """

    agent: AgentConfig = AgentConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    cpu_allocation_ratio: Ratio = 16.0
    ram_allocation_ratio: Ratio = 1.0
    disk_allocation_ratio: Ratio = 1.0
    reserved_ram_mib: int = 512
    reserved_disk_gib: int = 0
    quotas: dict[str, int] = {}
    deleted_kept_days: int = 30
    build_concurrency: Annotated[int, msgspec.Meta(ge=1)] = 32
