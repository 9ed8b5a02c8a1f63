"""Blocking libvirt calls on a few threads, each with a deadline.

A libvirt call can hang for ever (a stuck daemon, a guest's monitor that does not answer). The caller gets
HypervisorTimeout at its deadline; the thread is left behind and replaced, up to a bound, beyond which calls
fail at once. The threads are daemons, so a hung call does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from pileus.services.compute.drivers.hypervisor.interface import HypervisorTimeout

T = TypeVar("T")

THREADS: Final = 16
MAX_HUNG_CALLS: Final = 64


class _Job:
    def __init__(self, work: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.done: asyncio.Future[Any] = loop.create_future()
        self.started = False
        self.returned = False
        self.abandoned = False


class CallPool:
    """Runs plain functions on its threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads = 0
        self._hung = 0
        self._wanted = 0  # calls that somebody waits for
        self._lock = threading.Lock()

    async def call(self, work: Callable[[], T], *, timeout_s: float | None, what: str) -> T:
        """The result of `work()`. Raises HypervisorTimeout at the deadline (None: waits for as long as it takes), or
        at once when too many calls hang."""
        if self._hung >= MAX_HUNG_CALLS:
            raise HypervisorTimeout(f"{what}: {self._hung} earlier calls still hang")
        job = _Job(work, asyncio.get_running_loop())
        with self._lock:
            self._wanted += 1
            self._grow()
        self._jobs.put(job)
        try:
            try:
                await asyncio.wait({job.done}, timeout=timeout_s)
            except asyncio.CancelledError:
                # The call goes on regardless: whoever comes next must find it finished, not overtake it.
                if timeout_s is not None:
                    await asyncio.wait({job.done}, timeout=timeout_s)
                raise
            if not job.done.done():
                raise HypervisorTimeout(f"{what}: no answer within {timeout_s:g} s")
            return job.done.result()
        finally:
            self._let_go(job)

    @property
    def hung_calls(self) -> int:
        """Calls past their deadline that have not come back."""
        return self._hung

    def close(self) -> None:
        """Let the threads end after what they are doing."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _let_go(self, job: _Job) -> None:
        """Nobody waits for the job any more. If a thread is still at it, another takes that thread's place."""
        with self._lock:
            self._wanted -= 1
        if job.done.done():
            if not job.done.cancelled():
                job.done.exception()
            return
        job.done.cancel()
        with self._lock:
            job.abandoned = True
            if job.started and not job.returned:
                self._hung += 1
                self._grow()

    def _grow(self) -> None:
        if self._threads - self._hung < min(self._wanted, THREADS):
            self._threads += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                if job.abandoned:
                    continue
                job.started = True
            result, error = None, None
            try:
                result = job.work()
            except BaseException as caught:
                error = caught
            with self._lock:
                job.returned = True
                if job.abandoned:  # this thread had been replaced
                    self._hung -= 1
            try:
                job.loop.call_soon_threadsafe(_settle, job.done, result, error)
            except RuntimeError:
                return  # the loop has ended; nobody waits any more
            job = None


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)
