"""The bus over RabbitMQ.

A topic is a quorum queue; it goes when nobody has served it for a while. A call waits for its answer in a queue of
the caller's process. If the broker goes away, calls under way are sent again when it is back, and listeners come back
by themselves; casts and events sent meanwhile are lost, which costs time and never work.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aio_pika
import msgspec

from pileus.kernel.bus.amqp.calls import Calls, headers
from pileus.kernel.bus.amqp.consumers import Consumer, EventConsumer, TopicConsumer
from pileus.kernel.bus.amqp.link import Link, Session
from pileus.kernel.bus.amqp.names import CAST_KEPT_S, DEAD_QUEUE, EVENTS_KEPT_S, Names
from pileus.kernel.bus.amqp.sender import LOST, Disconnected, Refused, Unroutable
from pileus.kernel.bus.hops import asking
from pileus.kernel.bus.listener import Listener
from pileus.kernel.bus.messages import DEFAULT_CALL_TIMEOUT_S, Event, Handler, Message, encode

log = logging.getLogger(__name__)

SEND_TIMEOUT_S = 5.0
OPEN_TIMEOUT_S = 15.0
SETTLE_TIMEOUT_S = 30.0


class AmqpBus:
    """See `Bus`. url: of the broker, with user and password, or of each member of its cluster. cloud: begins all names
    there. name: of this process, as the broker shows its connection.

    lost: how many casts and events no broker took."""

    def __init__(self, url: str | Sequence[str], *, cloud: str, name: str) -> None:
        self.lost = 0
        self._names = Names(cloud)
        self._link = Link([url] if isinstance(url, str) else url, name, self._prepare)
        self._calls = Calls(self._link, self._names)
        self._events = EventConsumer(self._link, self._names)
        self._consumers: dict[Consumer, asyncio.Task[Any]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        self._spawn(self._link.run_forever())
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._link.session()
        except TimeoutError:
            log.warning("going on without the message broker; it is tried again and again")

    @property
    def broker(self) -> str | None:
        """The address of the member in use; None while there is none."""
        session = self._link.now()
        return None if session is None else session.address

    async def _prepare(self, session: Session) -> None:
        await session.prepare(self._names.events, self._names.dead, DEAD_QUEUE)
        await self._calls.prepare(session)

    # -- receive ---------------------------------------------------------------------------------------------

    def listen(self, topic: str, handlers: Mapping[type[Message], Handler]) -> Callable[[], None]:
        consumer = TopicConsumer(self._link, self._names, Listener(topic, handlers))
        task = self._run(consumer)

        def stop() -> None:
            del self._consumers[consumer]
            task.cancel()
            self._spawn(self._retire(consumer, task), name=f"retire {topic}")

        return stop

    async def _retire(self, consumer: TopicConsumer, task: asyncio.Task[Any]) -> None:
        await asyncio.gather(task, return_exceptions=True)
        await consumer.remove_queue()

    def subscribe(self, event: type[Event], handler: Handler) -> Callable[[], None]:
        self._events.handlers[event].append(handler)
        if self._events not in self._consumers:
            self._run(self._events)
        elif self._events.ready.is_set():
            self._spawn(self._bind())
        return lambda: self._events.handlers[event].remove(handler)

    async def _bind(self) -> None:
        try:
            await self._events.bind()
        except LOST:
            log.debug("binding waits for the next connection")

    async def settled(self) -> None:
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            while self._tasks_of_change():
                await asyncio.wait(self._tasks_of_change())
            for consumer in list(self._consumers):
                await consumer.ready.wait()
            if self._events in self._consumers:
                await self._bind()

    def _tasks_of_change(self) -> set[asyncio.Task[Any]]:
        return {task for task in self._tasks if task.get_name().startswith("retire ")}

    # -- send ------------------------------------------------------------------------------------------------

    async def call(self, topic: str, message: Message, *, timeout_s: float = DEFAULT_CALL_TIMEOUT_S) -> Any:
        with asking(topic, message):
            answer = await self._calls.call(topic, type(message).__name__, encode(message), timeout_s)
        kind = type(message).reply
        return None if kind is None else msgspec.msgpack.decode(answer, type=kind)

    async def cast(self, topic: str, message: Message) -> None:
        letter = aio_pika.Message(
            encode(message), type=type(message).__name__, headers=headers(), expiration=CAST_KEPT_S,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT, message_id=uuid.uuid4().hex,
        )
        await self._lose(lambda session: session.send(self._names.queue(topic), letter, mandatory=True), topic)

    async def publish(self, event: Event) -> None:
        name = type(event).__name__
        letter = aio_pika.Message(encode(event), type=name, headers=headers(), expiration=EVENTS_KEPT_S)
        await self._lose(lambda session: session.tell(name, letter), name)

    async def _lose(self, send: Callable[[Session], Any], what: str) -> None:
        """Send now or never."""
        session = self._link.now()
        if session is None:
            self.lost += 1
            log.debug("%s is lost: no connection", what)
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await send(session)
        except (Disconnected, Unroutable, Refused, TimeoutError) as error:
            self.lost += 1
            log.debug("%s is lost: %s", what, type(error).__name__)

    # -- end -------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        tasks = [*self._consumers.values(), *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._consumers.clear()

    def _run(self, consumer: Consumer) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(consumer.run_forever())
        self._consumers[consumer] = task
        return task

    def _spawn(self, work: Any, name: str | None = None) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
