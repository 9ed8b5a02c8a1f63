"""The connection to the broker: one at a time, made again when it is lost, with growing pauses up to a bound.

A cluster has several addresses. Processes begin at a random one, so that they spread over the members, and go on to the
next at once when one is away; the pause comes after all of them were asked.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection

from pileus.kernel.bus.amqp.sender import CLOSE_TIMEOUT_S, LOST, Sender, cancelled_by_us

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
REACH_TIMEOUT_S = 3.0  # of the above; who is behind a cut network does not even refuse
HEARTBEAT_S = 10
CHECK_EVERY_S = 2.0
CHECK_TIMEOUT_S = 6.0  # a member that hangs or was cut off is left for another long before heartbeats tell
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 3.0

class Pause:
    """Growing waits with jitter, so that a thousand agents do not come back at the same moment."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def reset(self) -> None:
        """It works again."""
        self._next_s = FIRST_PAUSE_S

    async def wait(self) -> None:
        """Sleep; the next time is longer."""
        await asyncio.sleep(self._next_s * (0.5 + random.random()))
        self._next_s = min(self._next_s * 2, MAX_PAUSE_S)


class Session:
    """One connection while it lasts. `lost` is done when it is gone. address: of the broker, for logs."""

    def __init__(self, connection: AbstractConnection, address: str = "") -> None:
        self.connection = connection
        self.address = address
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sender = Sender(connection, self.fail)
        self._checked: AbstractChannel | None = None

    async def prepare(self, events: str, dead: str, dead_arguments: dict[str, Any]) -> None:
        """The channel for sending, with confirms, and what is always there."""
        channel = await self._sender.prepare(events)
        await channel.declare_queue(dead, durable=True, arguments=dead_arguments)
        self._checked = await self.connection.channel(publisher_confirms=False)

    async def check_forever(self) -> None:
        """Ask the broker for a sign of life again and again; fail when there is none."""
        assert self._checked is not None
        try:
            while not self.lost.done():
                await asyncio.sleep(CHECK_EVERY_S)
                async with asyncio.timeout(CHECK_TIMEOUT_S):
                    await self._checked.get_exchange("amq.direct", ensure=True)
        except (asyncio.CancelledError, *LOST) as error:
            if isinstance(error, asyncio.CancelledError) and cancelled_by_us():
                raise
            self.fail()

    def fail(self, *_: object) -> None:
        """What the session stands on is gone."""
        if not self.lost.done():
            self.lost.set_result(None)

    async def send(self, queue: str, message: aio_pika.Message, *, mandatory: bool = False) -> None:
        """Into one queue; returns when the broker has it. mandatory: `Unroutable` when there is no such queue."""
        await self._sender.send(queue, message, mandatory)

    async def tell(self, key: str, message: aio_pika.Message) -> None:
        """To every queue bound to the events named `key`."""
        await self._sender.tell(key, message)

    async def close(self) -> None:
        """End it; never raises for a connection that is gone already."""
        self.fail()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.connection.close()
        except asyncio.CancelledError:
            if cancelled_by_us():
                raise
        except LOST:
            pass


class Link:
    """Keeps a session with the broker at one of `urls`. `prepare` makes one usable before anybody gets it."""

    def __init__(
        self, urls: Sequence[str], name: str, prepare: Callable[[Session], Awaitable[None]]
    ) -> None:
        self._urls = tuple(urls)
        self._turn = random.randrange(len(self._urls))
        self._name = name
        self._prepare = prepare
        self._session: Session | None = None
        self._up = asyncio.Event()
        self._told = False

    @property
    def has_choice(self) -> bool:
        """Whether there are several members to go to."""
        return len(self._urls) > 1

    async def run_forever(self) -> None:
        """Loop until cancelled."""
        pause = Pause()
        while True:
            session = await self._connect_to_any()
            if session is not None:
                log.info("connected to the message broker at %s", session.address)
                pause.reset()
                self._told = False
                await self._keep(session)
                log.warning("the connection to the message broker at %s is lost", session.address)
            await pause.wait()

    async def _keep(self, session: Session) -> None:
        """Until it is lost."""
        self._session = session
        self._up.set()
        checks = asyncio.get_running_loop().create_task(session.check_forever()) if self.has_choice else None
        try:
            await session.lost
        finally:
            self._up.clear()
            self._session = None
            if checks is not None:
                checks.cancel()
            await session.close()

    async def _connect_to_any(self) -> Session | None:
        for _ in self._urls:
            url = self._urls[self._turn]
            self._turn = (self._turn + 1) % len(self._urls)
            if (session := await self._connect(url)) is not None:
                return session
        return None

    async def _connect(self, url: str) -> Session | None:
        session = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await aio_pika.connect(
                    url, heartbeat=HEARTBEAT_S, client_properties={"connection_name": self._name},
                    timeout=REACH_TIMEOUT_S if self.has_choice else None,
                )
                session = Session(connection, _address(url))
                await self._prepare(session)
                return session
        except asyncio.CancelledError:
            if cancelled_by_us():
                raise
        except Exception as error:  # a kernel loop: the next connection is the retry
            level = logging.DEBUG if self._told else logging.WARNING  # once, not with every try
            why = str(error) or type(error).__name__
            log.log(level, "the message broker at %s does not answer: %s", _address(url), why)
            self._told = True
        if session is not None:
            await session.close()
        return None

    def now(self) -> Session | None:
        """The session, if there is one at this moment."""
        return self._session if self._session is not None and not self._session.lost.done() else None

    async def session(self) -> Session:
        """The session, waited for as long as it takes; the caller has a deadline."""
        while (session := self.now()) is None:
            await self._up.wait()
            if self.now() is None:
                await asyncio.sleep(0)  # lost, and the loop above is about to notice
        return session


def _address(url: str) -> str:
    """Without user and password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
