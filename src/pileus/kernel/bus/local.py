"""The bus inside one process. Messages are still encoded and decoded, so that what works here works over a broker."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pileus.kernel import context as ctx
from pileus.kernel.bus.hops import asking
from pileus.kernel.bus.listener import Listener
from pileus.kernel.bus.messages import DEFAULT_CALL_TIMEOUT_S, Event, Handler, Message, NoListener, encode
from pileus.kernel.errors import RemoteError

log = logging.getLogger(__name__)


class LocalBus:
    """See `Bus`."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self._turn = itertools.count()
        self._subscribers: dict[type[Event], list[Handler]] = defaultdict(list)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Nothing to connect to."""

    def listen(self, topic: str, handlers: Mapping[type[Message], Handler]) -> Callable[[], None]:
        listener = Listener(topic, handlers)
        self._listeners[topic].append(listener)
        return lambda: self._listeners[topic].remove(listener)

    async def call(self, topic: str, message: Message, *, timeout_s: float = DEFAULT_CALL_TIMEOUT_S) -> Any:
        with asking(topic, message):
            answer = await self._ask(topic, message, timeout_s)
        kind = type(message).reply
        return None if kind is None else msgspec.msgpack.decode(answer, type=kind)

    async def _ask(self, topic: str, message: Message, timeout_s: float) -> bytes:
        listener = self._pick(topic)
        if listener is None:
            raise NoListener(topic=topic)
        payload = encode(message)
        # A task of its own: the handler must not inherit the caller's cancellation half-way through a host change.
        task = self._spawn(listener.handle(type(message).__name__, payload))
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(task)

    async def cast(self, topic: str, message: Message) -> None:
        listener = self._pick(topic)
        if listener is not None:
            self._spawn(self._unanswered(listener, type(message).__name__, encode(message)))

    def subscribe(self, event: type[Event], handler: Handler) -> Callable[[], None]:
        self._subscribers[event].append(handler)
        return lambda: self._subscribers[event].remove(handler)

    async def publish(self, event: Event) -> None:
        payload = encode(event)
        for handler in list(self._subscribers[type(event)]):
            copy = msgspec.msgpack.decode(payload, type=type(event))
            self._spawn(self._tell(handler, copy))

    async def settled(self) -> None:
        """Everything counts at once here."""

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pick(self, topic: str) -> Listener | None:
        listeners = self._listeners.get(topic)
        return listeners[next(self._turn) % len(listeners)] if listeners else None

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # taken here so that an answer nobody waits for any more is not reported as lost

    async def _unanswered(self, listener: Listener, name: str, payload: bytes) -> None:
        try:
            await listener.handle(name, payload)
        except RemoteError as error:
            log.warning("%s did not take %s: %s", listener.topic, name, error.text)

    async def _tell(self, handler: Handler, event: Event) -> None:
        try:
            await handler(event)
        except Exception:  # a kernel loop: one bad event must not end the others
            log.exception("handling %s failed (request %s)", type(event).__name__, ctx.current().request_id)
