"""Who receives: one consumer for each topic that is listened on, one for events. Each comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from typing import Any

import aio_pika
import msgspec
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from pileus.kernel import context as ctx
from pileus.kernel.bus.amqp.calls import CONTEXT, FAULT, Fault
from pileus.kernel.bus.amqp.link import Link, Pause, Session
from pileus.kernel.bus.amqp.names import EVENT_QUEUE, MAX_DELIVERIES, TOPIC_QUEUE, Names
from pileus.kernel.bus.amqp.sender import LOST, Disconnected, Refused, cancelled_by_us
from pileus.kernel.bus.listener import MAX_RUNNING_PER_TOPIC, Listener
from pileus.kernel.bus.messages import Event, Handler
from pileus.kernel.context import Context
from pileus.kernel.errors import RemoteError

log = logging.getLogger(__name__)

SETUP_TIMEOUT_S = 5.0  # a broker that has just begun may leave a question unanswered
SETUPS_BEFORE_RENEWAL = 2
SETUPS_BEFORE_RENEWAL_ON_A_CLUSTER = 12  # where a queue that does not answer may just be without its majority
MAX_ANSWERS_KEPT = 1_000  # of each topic
MAX_KEPT_ANSWER_BYTES = 16 * 1024
REMOVAL_LOOKS = 20
REMOVAL_LOOK_S = 0.05


class Consumer(ABC):
    """Holds a channel on every session there is. `ready` is set while it receives."""

    def __init__(self, link: Link, names: Names) -> None:
        self.ready = asyncio.Event()
        self._link = link
        self._names = names
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run_forever(self) -> None:
        """Loop until cancelled; what is being handled then is cancelled too, and given to somebody else."""
        pause = Pause()
        try:
            while True:
                session = await self._link.session()
                try:
                    await self._receive(session, pause)
                except asyncio.CancelledError:
                    if cancelled_by_us():
                        raise
                except Exception as error:  # a kernel loop: the next channel is the retry
                    if not session.lost.done():
                        log.warning("receiving %s is interrupted: %s", self.what, str(error) or type(error).__name__)
                finally:
                    self.ready.clear()
                await pause.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _receive(self, session: Session, pause: Pause) -> None:
        """Until the channel, or the consumer on it, is no more."""
        ended = asyncio.Event()
        channel = await session.connection.channel(publisher_confirms=False)
        channel.close_callbacks.add(lambda *_: ended.set())
        under = await channel.get_underlay_channel()
        under.on_consumer_cancel_callbacks.add(lambda _frame: ended.set())
        try:
            async with asyncio.timeout(SETUP_TIMEOUT_S):
                await self.consume(channel)
            self.ready.set()
            pause.reset()
            await ended.wait()
        finally:
            with contextlib.suppress(*LOST):
                async with asyncio.timeout(SETUP_TIMEOUT_S):  # the broker may still be busy with what was given up
                    await channel.close()

    def spawn(self, work: Any) -> None:
        """A task that ends with the consumer. The library's own tasks end with the channel, half-way through."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    @abstractmethod
    def what(self) -> str:
        """What is received, for the log."""

    @abstractmethod
    async def consume(self, channel: AbstractChannel) -> None:
        """Declare the queue and begin."""


class TopicConsumer(Consumer):
    """Serves a topic. A message is acknowledged when its handler is done and the answer is with the broker: if this
    process dies before, somebody else gets it, or this one when it is back."""

    def __init__(self, link: Link, names: Names, listener: Listener) -> None:
        super().__init__(link, names)
        self._listener = listener
        self._running: dict[str, asyncio.Task[bytes]] = {}
        self._finished: dict[str, asyncio.Task[bytes]] = {}  # oldest first
        self._setups = 0
        self._renewal = SETUPS_BEFORE_RENEWAL_ON_A_CLUSTER if link.has_choice else SETUPS_BEFORE_RENEWAL

    @property
    def what(self) -> str:
        return self._listener.topic

    async def consume(self, channel: AbstractChannel) -> None:
        name = self._names.queue(self._listener.topic)
        await channel.set_qos(prefetch_count=MAX_RUNNING_PER_TOPIC)
        if self._setups >= self._renewal:
            # A broker killed in the first second of a quorum queue forgets half of it: it is there, and dead.
            log.warning("the queue of %s does not answer; it is made anew", self.what)
            await channel.queue_delete(name)
        self._setups += 1
        queue = await channel.declare_queue(name, durable=True, arguments=TOPIC_QUEUE)
        await queue.consume(self._arrived)
        self._setups = 0

    async def remove_queue(self) -> None:
        """Nobody here serves the topic any more, on purpose: calls shall fail at once, unless others serve it."""
        session = self._link.now()
        if session is None:
            return
        with contextlib.suppress(*LOST):
            async with await session.connection.channel(publisher_confirms=False) as channel:
                for _ in range(REMOVAL_LOOKS):
                    queue = await channel.get_queue(self._names.queue(self._listener.topic), ensure=True)
                    if not queue.declaration_result.consumer_count:
                        await queue.delete(if_unused=False, if_empty=False)
                        return
                    await asyncio.sleep(REMOVAL_LOOK_S)  # ours may still be counted

    async def _arrived(self, message: AbstractIncomingMessage) -> None:
        self.spawn(self._take(message))

    async def _take(self, message: AbstractIncomingMessage) -> None:
        answer, fault = b"", None
        try:
            if _deliveries(message) > MAX_DELIVERIES:
                await self._bury(message)
            answer = await asyncio.shield(self._work(message))
        except RemoteError as error:
            fault = error
        try:
            if message.reply_to:
                await self._reply(message, answer, fault)
            elif fault is not None:
                log.warning("%s did not take %s: %s", self.what, message.type, fault.text)
            await message.ack()
        except (Disconnected, *LOST):
            log.info("the answer to %s could not be sent; it will be asked for again", message.type)

    def _work(self, message: AbstractIncomingMessage) -> asyncio.Task[bytes]:
        """The handler's task: the one that runs, or has run, if this is the same message again."""
        key = message.message_id or uuid.uuid4().hex
        if (known := self._running.get(key) or self._finished.get(key)) is not None:
            return known
        task = asyncio.get_running_loop().create_task(self._handle(message))
        self._running[key] = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(key, done))
        return task

    def _done(self, key: str, task: asyncio.Task[bytes]) -> None:
        del self._running[key]
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()  # whoever waits has it; if nobody does any more, it is not lost by mistake
        if error is None and len(task.result()) > MAX_KEPT_ANSWER_BYTES:
            return
        # The broker may die before it knows that this is done, and another of its members give it to us again.
        self._finished[key] = task
        while len(self._finished) > MAX_ANSWERS_KEPT:
            del self._finished[next(iter(self._finished))]

    async def _handle(self, message: AbstractIncomingMessage) -> bytes:
        ctx.enter(_context(message))
        return await self._listener.handle(message.type or "", message.body)

    async def _reply(self, message: AbstractIncomingMessage, answer: bytes, fault: RemoteError | None) -> None:
        session = self._link.now()
        if session is None:
            raise Disconnected
        headers = {}
        if fault is not None:
            headers[FAULT] = msgspec.json.encode(Fault(fault.code, fault.type, fault.text)).decode()
        reply = aio_pika.Message(answer, correlation_id=message.correlation_id, headers=headers)
        with contextlib.suppress(Refused):  # its queue went with a member; the caller asks again, and gets this answer
            await session.send(message.reply_to or "", reply)

    async def _bury(self, message: AbstractIncomingMessage) -> None:
        """Keep for the operator a message whose listeners died with it, time after time, and refuse it."""
        log.error("%s: %s was never survived; it is put away in %s", self.what, message.type, self._names.dead)
        session = self._link.now()
        if session is not None:
            headers = {CONTEXT: message.headers.get(CONTEXT), "topic": self.what}
            copy = aio_pika.Message(
                message.body, type=message.type, message_id=message.message_id, headers=headers,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            with contextlib.suppress(Disconnected, Refused):
                await session.send(self._names.dead, copy)
        raise RemoteError(500, "PoisonMessage", f"{self.what} failed again and again over {message.type}.")


class EventConsumer(Consumer):
    """Receives the events that are subscribed to; those told while there is no connection are missed."""

    def __init__(self, link: Link, names: Names) -> None:
        super().__init__(link, names)
        self.handlers: dict[type[Event], list[Handler]] = defaultdict(list)
        self._queue: AbstractQueue | None = None
        self._bound: set[str] = set()
        self._binding = asyncio.Lock()

    @property
    def what(self) -> str:
        return "events"

    async def consume(self, channel: AbstractChannel) -> None:
        name = f"{self._names.cloud}.events.{uuid.uuid4().hex}"
        queue = await channel.declare_queue(name, exclusive=True, auto_delete=True, arguments=EVENT_QUEUE)
        self._queue, self._bound = queue, set()
        await self.bind()
        await queue.consume(self._arrived, no_ack=True)

    async def bind(self) -> None:
        """Have what is subscribed to by now sent here."""
        async with self._binding:
            if self._queue is None:
                return
            for kind in list(self.handlers):
                if kind.__name__ not in self._bound:
                    await self._queue.bind(self._names.events, kind.__name__)
                    self._bound.add(kind.__name__)

    async def _arrived(self, message: AbstractIncomingMessage) -> None:
        for kind, handlers in list(self.handlers.items()):
            if kind.__name__ == message.type:
                for handler in list(handlers):
                    self.spawn(self._tell(handler, kind, message))

    async def _tell(self, handler: Handler, kind: type[Event], message: AbstractIncomingMessage) -> None:
        ctx.enter(_context(message))
        try:
            await handler(msgspec.msgpack.decode(message.body, type=kind))
        except Exception:  # a kernel loop: one bad event must not end the others
            log.exception("handling %s failed (request %s)", message.type, ctx.current().request_id)


def _context(message: AbstractIncomingMessage) -> Context:
    """Of whoever sent it; an empty one when that cannot be read (another version's)."""
    raw = message.headers.get(CONTEXT)
    try:
        return msgspec.json.decode(raw, type=Context) if isinstance(raw, str) else Context()
    except msgspec.MsgspecError:
        return Context()


def _deliveries(message: AbstractIncomingMessage) -> int:
    """How often it has been with a listener, this time included."""
    before = message.headers.get("x-delivery-count", 0)
    return 1 + (before if isinstance(before, int) else 0)
