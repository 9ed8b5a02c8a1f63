"""Weighers: each gives a host a number from 0 (worst) to 1 (best). A new file here is found by itself.

The number depends on the request and that one host, never on the other hosts: adding or removing a host that is not
chosen cannot change the choice.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Protocol

from pileus.services.compute.scheduler.config import SchedulerConfig
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class Weigher(Protocol):
    """name: as it appears in explanations."""

    name: str

    def multiplier(self, config: SchedulerConfig) -> float:
        """How much it counts."""
        ...

    def weigh(self, request: SchedulingRequest, host: HostState) -> float:
        """From 0 to 1; more is better."""
        ...


def _find() -> tuple[Weigher, ...]:
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    return tuple(sorted((module.WEIGHER for module in modules), key=lambda one: one.name))


ALL: tuple[Weigher, ...] = _find()
