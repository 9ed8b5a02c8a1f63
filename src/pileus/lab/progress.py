"""Lines that say what is being done and how long it took."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """Prints one line for each step that is done. May be used by several threads."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._begun = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """One line, with the seconds since the beginning."""
        with self._lock:
            self._show(f"[{time.monotonic() - self._begun:6.1f} s] {text}")

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say it when it is done, and how long it took."""
        begun = time.monotonic()
        yield
        self.say(f"{text} ({time.monotonic() - begun:.1f} s)")


def all_at_once(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do it for all items in threads of their own; raises the first failure after all have ended."""
    todo = list(items)
    if not todo:
        return
    with ThreadPoolExecutor(len(todo)) as pool:
        for done in [pool.submit(work, item) for item in todo]:
            done.result()
