"""Spares the detailed look at a namespace that was right a moment ago.

Nothing tells us when somebody changes a namespace from inside, and looking costs several processes. So a namespace that
was found right, for the same desired state, is looked at in detail again only after a while; whether it and its
outer devices are still there is checked every time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from pileus.kernel.host.links import Link
from pileus.kernel.host.namespaces import namespace_inode

DETAIL_INTERVAL_S = 30.0
Wanted = TypeVar("Wanted")


class RecentlyRight(Generic[Wanted]):
    """What was found right, when, and for which desired state. `interval_s`: how long that is believed."""

    def __init__(self, interval_s: float = DETAIL_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._seen: dict[str, tuple[Wanted, int | None, float]] = {}

    def is_right(
        self, namespace: str, wanted: Wanted, outer_devices: Iterable[str], outside: Mapping[str, Link]
    ) -> bool:
        """True if a detailed look can wait."""
        seen = self._seen.get(namespace)
        if seen is None or seen[0] != wanted or seen[1] != namespace_inode(namespace):
            return False
        if not all(name in outside for name in outer_devices):
            return False
        return time.monotonic() - seen[2] < self._interval_s

    def note(self, namespace: str, wanted: Wanted) -> None:
        """The namespace is right now."""
        self._seen[namespace] = (wanted, namespace_inode(namespace), time.monotonic())

    def forget(self, namespace: str) -> None:
        """Look in detail the next time."""
        self._seen.pop(namespace, None)

    def keep(self, namespaces: set[str]) -> None:
        """Forget all others."""
        self._seen = {name: seen for name, seen in self._seen.items() if name in namespaces}
