"""Sending with confirms, on a channel that is replaced when the broker refuses."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, DeliveryError, PublishError

RENEWAL_EVERY_S = 0.5
RETIRED_S = 30.0
CLOSE_TIMEOUT_S = 1.0

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
    """The broker did not take the message: its queue is full, or without a leader."""


class Sender:
    """Publishes on one connection. `fail` is called when it cannot any more.

    RabbitMQ 3.10 remembers in each channel which member leads a queue. A channel that first used a queue when its
    leader had just died refuses everything for that queue until the dead member is back; a new channel does not.
    """

    def __init__(self, connection: AbstractConnection, fail: Callable[..., None]) -> None:
        self._connection = connection
        self._fail = fail
        self._channel: AbstractChannel | None = None
        self._events: AbstractExchange | None = None
        self._events_name = ""
        self._renewed = 0.0
        self._refused = False
        self._renewing = asyncio.Lock()
        self._retired: list[tuple[float, AbstractChannel]] = []  # the oldest first; what is under way there may end

    async def prepare(self, events: str) -> AbstractChannel:
        """Open the channel; events: the exchange of all events, declared here."""
        channel = await self._open()
        self._events = await channel.declare_exchange(events, aio_pika.ExchangeType.DIRECT, durable=True)
        self._channel, self._events_name = channel, events
        return channel

    async def send(self, queue: str, message: aio_pika.Message, mandatory: bool) -> None:
        """Into one queue; returns when the broker has it. Raises `Disconnected`, `Unroutable` or `Refused`."""
        with self._losing():
            await self._renew()
            assert self._channel is not None
            await self._publish(self._channel.default_exchange, queue, message, mandatory)

    async def tell(self, key: str, message: aio_pika.Message) -> None:
        """To every queue bound to the events named `key`. Raises `Disconnected` or `Refused`."""
        with self._losing():
            await self._renew()
            assert self._events is not None
            await self._publish(self._events, key, message, False)

    async def _publish(self, exchange: AbstractExchange, key: str, message: aio_pika.Message, mandatory: bool) -> None:
        try:
            await exchange.publish(message, key, mandatory=mandatory)
        except PublishError as error:
            raise Unroutable(key) from error
        except DeliveryError as error:
            self._refused = True
            raise Refused(key) from error

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except (asyncio.CancelledError, *LOST) as error:
            if isinstance(error, asyncio.CancelledError) and cancelled_by_us():
                raise
            self._fail()
            raise Disconnected(str(error)) from error

    async def _open(self) -> AbstractChannel:
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(self._fail)
        return channel

    async def _renew(self) -> None:
        """A new channel, if the broker has refused something on this one and it is not quite new."""
        if not self._refused or time.monotonic() - self._renewed < RENEWAL_EVERY_S:
            return
        async with self._renewing:
            if not self._refused or self._channel is None:
                return
            channel = await self._open()
            self._events = await channel.get_exchange(self._events_name, ensure=False)
            self._retired.append((time.monotonic(), self._channel))
            self._channel, self._refused, self._renewed = channel, False, time.monotonic()
            while self._retired and time.monotonic() - self._retired[0][0] > RETIRED_S:
                await self._close(self._retired.pop(0)[1])

    async def _close(self, channel: AbstractChannel) -> None:
        channel.close_callbacks.discard(self._fail)
        with contextlib.suppress(*LOST):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await channel.close()
