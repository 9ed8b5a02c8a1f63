"""Filters: each says yes or why not, for one request and one host. A new file here is found by itself.

A module holds `FILTER`, an object with the `Filter` attributes. Lower `order` is asked first: the filter that says the
plainest thing about a host should be the one that turns it down.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Sequence
from typing import Protocol

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest


class Filter(Protocol):
    """name: as operators write it in `enabled_filters`. always: asked even when hosts are forced."""

    name: str
    order: int
    always: bool

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        """None when the host passes."""
        ...


@functools.cache
def _all() -> dict[str, Filter]:
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found: list[Filter] = sorted((module.FILTER for module in modules), key=lambda one: (one.order, one.name))
    return {one.name: one for one in found}


def names() -> tuple[str, ...]:
    """Every filter there is, in its own order."""
    return tuple(_all())


@functools.cache
def _chosen(wanted: tuple[str, ...]) -> tuple[Filter, ...]:
    known = _all()
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ValueError(f"unknown scheduler filters: {', '.join(unknown)}; there are {', '.join(known)}")
    if not wanted:
        return tuple(known.values())
    forced = [one for one in known.values() if one.always and one.name not in wanted]
    return (*forced, *(known[name] for name in wanted))


def enabled(wanted: Sequence[str]) -> tuple[Filter, ...]:
    """Filters by name in that order; all when none is named. `ValueError` names what is not there.

    Those that keep to the user's own wish for a host (`always`) cannot be left out.
    """
    return _chosen(tuple(wanted))
