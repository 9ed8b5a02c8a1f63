"""The connection to the broker: one at a time, made again when it is lost, with growing pauses up to a bound."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, DeliveryError, PublishError

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
HEARTBEAT_S = 10
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 3.0

LOST: tuple[type[BaseException], ...] = (*CONNECTION_EXCEPTIONS, TimeoutError)
"""What the library raises when the connection, or a channel, is gone."""


def cancelled_by_us() -> bool:
    """Whether a CancelledError is meant for this task: the library cancels what waits on a connection that is lost."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Disconnected(Exception):
    """The connection went away; what was sent may or may not have arrived."""


class Unroutable(Exception):
    """The broker has no queue for the message."""


class Refused(Exception):
    """The broker did not take the message: its queue is full."""


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
    """One connection while it lasts. `lost` is done when it is gone."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sender: AbstractChannel | None = None
        self._events: AbstractExchange | None = None

    async def prepare(self, events: str, dead: str, dead_arguments: dict[str, Any]) -> None:
        """The channel for sending, with confirms, and what is always there."""
        self._sender = await self.connection.channel(publisher_confirms=True, on_return_raises=True)
        self._events = await self._sender.declare_exchange(events, aio_pika.ExchangeType.DIRECT, durable=True)
        await self._sender.declare_queue(dead, durable=True, arguments=dead_arguments)
        self._sender.close_callbacks.add(self.fail)

    def fail(self, *_: object) -> None:
        """What the session stands on is gone."""
        if not self.lost.done():
            self.lost.set_result(None)

    async def send(self, queue: str, message: aio_pika.Message, *, mandatory: bool = False) -> None:
        """Into one queue; returns when the broker has it. mandatory: `Unroutable` when there is no such queue."""
        assert self._sender is not None
        await self._publish(self._sender.default_exchange, queue, message, mandatory)

    async def tell(self, key: str, message: aio_pika.Message) -> None:
        """To every queue bound to the events named `key`."""
        assert self._events is not None
        await self._publish(self._events, key, message, False)

    async def _publish(
        self, exchange: AbstractExchange, key: str, message: aio_pika.Message, mandatory: bool
    ) -> None:
        try:
            await exchange.publish(message, key, mandatory=mandatory)
        except PublishError as error:
            raise Unroutable(key) from error
        except DeliveryError as error:
            raise Refused(key) from error
        except (asyncio.CancelledError, *LOST) as error:
            if isinstance(error, asyncio.CancelledError) and cancelled_by_us():
                raise
            self.fail()
            raise Disconnected(str(error)) from error

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
    """Keeps a session. `prepare` makes one usable before anybody gets it."""

    def __init__(self, url: str, name: str, prepare: Callable[[Session], Awaitable[None]]) -> None:
        self._url = url
        self._name = name
        self._prepare = prepare
        self._session: Session | None = None
        self._up = asyncio.Event()
        self._told = False

    async def run_forever(self) -> None:
        """Loop until cancelled."""
        pause = Pause()
        while True:
            session = await self._connect()
            if session is not None:
                log.info("connected to the message broker")
                pause.reset()
                self._told = False
                self._session = session
                self._up.set()
                try:
                    await session.lost
                finally:
                    self._up.clear()
                    self._session = None
                    await session.close()
                log.warning("the connection to the message broker is lost")
            await pause.wait()

    async def _connect(self) -> Session | None:
        session = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await aio_pika.connect(
                    self._url, heartbeat=HEARTBEAT_S, client_properties={"connection_name": self._name}
                )
                session = Session(connection)
                await self._prepare(session)
                return session
        except asyncio.CancelledError:
            if cancelled_by_us():
                raise
        except Exception as error:  # a kernel loop: the next connection is the retry
            level = logging.DEBUG if self._told else logging.WARNING  # once, not with every try
            log.log(level, "the message broker does not answer: %s", str(error) or type(error).__name__)
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
