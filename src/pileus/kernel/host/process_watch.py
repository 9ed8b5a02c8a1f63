"""Tells at once when one of some processes ends, whoever its parent is (pidfd_open(2))."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable


class ProcessWatch:
    """Calls `on_end` (in the loop) when a watched process is gone."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._descriptors: dict[int, int] = {}

    def keep(self, pids: Iterable[int]) -> None:
        """Watch exactly these processes from now on."""
        wanted = set(pids)
        for pid in set(self._descriptors) - wanted:
            self._drop(pid)
        for pid in wanted - set(self._descriptors):
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                self._on_end()
                continue
            self._descriptors[pid] = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._ended, pid)

    def close(self) -> None:
        self.keep(())

    def _ended(self, pid: int) -> None:
        self._drop(pid)
        self._on_end()

    def _drop(self, pid: int) -> None:
        descriptor = self._descriptors.pop(pid)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
