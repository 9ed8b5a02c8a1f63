"""Connections to libvirtd: made when they are needed, made again when they were lost, asked with deadlines.

Each thread that makes calls has a connection of its own: libvirtd takes no more than five requests of one connection
at a time (unless it is told otherwise), whoever hangs, and libvirt's client (before 10.0) can leave the call of one
thread unsent until that of another on the same connection is answered.

A libvirtd that hangs is found out by the first call that misses its deadline. From then on calls fail at once, until
one single question that was left waiting is answered: neither time nor threads are spent on a daemon that is silent,
and everything goes on by itself when it speaks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import libvirt

from pileus.services.compute.drivers.hypervisor.interface import GuestNotFound, HypervisorError, HypervisorTimeout
from pileus.services.compute.drivers.hypervisor.libvirt.calls import CallPool
from pileus.services.compute.drivers.hypervisor.libvirt.daemon import LibvirtDaemon

log = logging.getLogger(__name__)
T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 60.0
CALL_TIMEOUT_S: Final = 15.0
SILENT_WAIT_S: Final = 2.0  # how long a call waits for a daemon that is known to be silent
_CONNECT_RETRY_S: Final = 0.1

_LOST: Final = frozenset({
    libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_INTERNAL_ERROR,
})


class _Lost(Exception):
    """A call failed because its connection had ended, which says nothing about what was asked."""


class _Threads(threading.local):
    """A thread's own connection, and beside which of the shared ones it was made."""

    connection: libvirt.virConnect | None = None
    number = 0


class LibvirtConnection:
    """Calls on libvirtd at `uri`; `daemon` is started where none answers.

    `_current` is nobody's to make calls on: it tells that libvirtd is there, and carries the question whether it
    answers.
    """

    def __init__(self, uri: str, daemon: LibvirtDaemon) -> None:
        self._uri = uri
        self._daemon = daemon
        self._pool = CallPool("libvirt")
        self._own = _Threads()
        self._current: libvirt.virConnect | None = None
        self._number = 0  # of `_current`: counts the connections that were made
        self._opening: asyncio.Task[libvirt.virConnect] | None = None
        self._question: asyncio.Task[Any] | None = None
        self._silent_since: float | None = None
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised; not printed as well

    async def call(
        self, what: str, work: Callable[[libvirt.virConnect], T], timeout_s: float | None = CALL_TIMEOUT_S
    ) -> T:
        """Run `work` with a live connection; once more on a new one if it was lost (all our calls may be
        repeated). timeout_s: None for a call that says nothing about the daemon when it takes long."""
        for last_try in (False, True):
            current = await self.connect()
            number = self._number
            await self._require_answer(current, what)
            try:
                return await self._pool.call(lambda n=number: self._on_own(n, work), timeout_s=timeout_s, what=what)
            except HypervisorTimeout:
                self._silence_began()
                raise
            except _Lost as lost:
                if self._current is current:  # which cannot know it yet: nothing was asked on it
                    self._current = None
                if last_try:
                    raise HypervisorError(f"{what}: {lost.__cause__}") from lost.__cause__
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    raise GuestNotFound(f"{what}: {error}") from error
                raise HypervisorError(f"{what}: {error}") from error
        raise AssertionError("unreachable")

    def _on_own(self, number: int, work: Callable[[libvirt.virConnect], T]) -> T:
        """In a thread of the pool: `work` with the thread's connection."""
        own = self._own
        try:
            if own.number != number:
                own.connection = None
            if own.connection is None:
                own.connection, own.number = libvirt.open(self._uri), number
            return work(own.connection)
        except libvirt.libvirtError as error:
            if error.get_error_code() in _LOST and (own.connection is None or not own.connection.isAlive()):
                own.connection = None
                raise _Lost from error
            raise

    async def connect(self) -> libvirt.virConnect:
        """The live connection. All who need one wait for the same attempt, however long that takes; each of them for
        CONNECT_TIMEOUT_S at most, and hardly at all when others have waited so long before."""
        if self._current is not None:
            return self._current
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="libvirt connection")
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        await asyncio.wait({opening}, timeout=CONNECT_TIMEOUT_S if self._silent_since is None else SILENT_WAIT_S)
        if not opening.done():
            self._silence_began(CONNECT_TIMEOUT_S)
            raise HypervisorTimeout(f"connect: {self._silence()}")
        return opening.result()

    def forget(self) -> None:
        """The daemon is about to end: connect anew when there is another call."""
        self._current = None

    async def close(self) -> None:
        """Let go."""
        tasks = [task for task in (self._opening, self._question) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        connection, self._current = self._current, None
        if connection is not None and self._silent_since is None:
            with contextlib.suppress(HypervisorTimeout, libvirt.libvirtError):
                await self._pool.call(connection.close, timeout_s=CALL_TIMEOUT_S, what="close")
        self._pool.close()

    @property
    def hung_calls(self) -> int:
        """Calls past their deadline that have not come back."""
        return self._pool.hung_calls

    # -- connecting ------------------------------------------------------------------------------------------

    async def _open(self) -> libvirt.virConnect:
        try:
            return await self._open_once()
        except libvirt.libvirtError:
            log.info("no libvirtd answers at %s; starting one", self._uri)
            await self._daemon.start()
            return await self._open_until_ready()

    async def _open_once(self) -> libvirt.virConnect:
        # Without a deadline: a daemon that accepts but does not answer holds this one thread, not one per attempt.
        return await self._pool.call(lambda: libvirt.open(self._uri), timeout_s=None, what="connect")

    async def _open_until_ready(self) -> libvirt.virConnect:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CONNECT_TIMEOUT_S
        while True:
            try:
                return await self._open_once()
            except libvirt.libvirtError as error:
                if loop.time() > deadline:
                    raise HypervisorError(f"libvirtd was started but does not answer: {error}") from error
                await asyncio.sleep(_CONNECT_RETRY_S)

    def _opened(self, opening: asyncio.Task[libvirt.virConnect]) -> None:
        self._opening = None
        if opening.cancelled():
            return
        if opening.exception() is None:
            self._current = opening.result()
            self._number += 1
        self._heard(opening.exception())

    # -- a daemon that is silent -----------------------------------------------------------------------------

    async def _require_answer(self, connection: libvirt.virConnect, what: str) -> None:
        """Nothing while libvirtd answers. After a call that it left unanswered: ask it something small, and raise
        HypervisorTimeout until that is answered. (It may have been one guest's fault; then the answer comes at
        once.)"""
        if self._silent_since is None:
            return
        if self._question is None:
            asked = self._pool.call(connection.getLibVersion, timeout_s=None, what="are you there")
            self._question = asyncio.create_task(asked, name="libvirt question")
            self._question.add_done_callback(self._answered)
        question = self._question
        await asyncio.wait({question}, timeout=SILENT_WAIT_S)
        if not question.done():
            raise HypervisorTimeout(f"{what}: {self._silence()}")

    def _answered(self, question: asyncio.Task[Any]) -> None:
        self._question = None
        if not question.cancelled():
            self._heard(question.exception())

    def _silence_began(self, ago_s: float = 0.0) -> None:
        if self._silent_since is None:
            self._silent_since = asyncio.get_running_loop().time() - ago_s

    def _heard(self, error: BaseException | None) -> None:
        """An answer, or an error, which is an answer too: the daemon does not hang, it is gone."""
        if self._silent_since is None or isinstance(error, HypervisorTimeout):
            return
        log.info("%s, and does now", self._silence())
        self._silent_since = None

    def _silence(self) -> str:
        silent_s = asyncio.get_running_loop().time() - (self._silent_since or 0.0)
        return f"libvirtd at {self._uri} has not answered for {silent_s:.0f} s"
