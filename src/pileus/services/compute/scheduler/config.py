"""The scheduler's options: table `[compute.scheduler]`."""

from __future__ import annotations

import msgspec


class SchedulerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What operators may steer.

    enabled_filters: names, in the order asked; empty: every filter there is, in its own order.
    *_weight_multiplier: how much a weigher counts; 0 switches it off, below 0 turns its preference round (ram: pack
    servers together instead of spreading them).
    """

    enabled_filters: tuple[str, ...] = ()
    ram_weight_multiplier: float = 1.0
    cpu_weight_multiplier: float = 1.0
    disk_weight_multiplier: float = 1.0
    build_weight_multiplier: float = 1.0
    group_weight_multiplier: float = 10.0
