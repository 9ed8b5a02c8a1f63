"""What travels on the bus, and the interface of every transport.

Topics: a role's name (`compute-scheduler`) reaches any one listener of that role; `role@host` reaches the one there.

A handler may be given the same message more than once (a broker or a listener that died before the answer was on its
way back): like a step of a flow, it finds out what is already there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Protocol

import msgspec

from pileus.kernel.errors import ServiceError, Unavailable

DEFAULT_CALL_TIMEOUT_S = 30.0
MAX_MESSAGE_BYTES = 64 * 2**20  # a server's description with a full config drive is the largest


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all messages. A message that is called declares its answer: `reply = SomeStruct` (None: no answer).

    traced: False for heartbeats, reports and polling, which are no step of anybody's operation.
    """

    reply: ClassVar[Any] = None
    traced: ClassVar[bool] = True


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events: something that happened, told to whoever subscribed. Losing one costs time, never work."""


Handler = Callable[[Any], Awaitable[Any]]


class NoListener(Unavailable):
    """Nobody listens on the topic now."""

    text = "No {topic} is running."


class MessageTooLarge(ServiceError):
    """A message that no transport carries."""

    code = 413
    type = "MessageTooLarge"
    text = "The message {name} has {size} bytes; at most {limit} are carried."


def encode(message: Message | Event) -> bytes:
    """As every transport carries it. Raises `MessageTooLarge`."""
    payload = msgspec.msgpack.encode(message)
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(name=type(message).__name__, size=len(payload), limit=MAX_MESSAGE_BYTES)
    return payload


class Bus(Protocol):
    """A transport."""

    async def open(self) -> None:
        """Begin. A broker that does not answer now is tried again for as long as the bus is open."""
        ...

    def listen(self, topic: str, handlers: Mapping[type[Message], Handler]) -> Callable[[], None]:
        """Serve a topic; returns the function that stops serving."""
        ...

    async def call(self, topic: str, message: Message, *, timeout_s: float = DEFAULT_CALL_TIMEOUT_S) -> Any:
        """Send and wait for the answer, an instance of the message's `reply`. Raises `RemoteError` with what the
        other side raised, `NoListener`, or `TimeoutError`."""
        ...

    async def cast(self, topic: str, message: Message) -> None:
        """Send without waiting. Lost when nobody listens: only for wake-ups."""
        ...

    def subscribe(self, event: type[Event], handler: Handler) -> Callable[[], None]:
        """Have `handler` called for each event of that type; returns the function that ends it."""
        ...

    async def publish(self, event: Event) -> None:
        """Tell all subscribers."""
        ...

    async def settled(self) -> None:
        """Return when everything listened and subscribed to so far is in effect; TimeoutError when it cannot be."""
        ...

    async def close(self) -> None:
        """Stop; running handlers are cancelled."""
        ...
