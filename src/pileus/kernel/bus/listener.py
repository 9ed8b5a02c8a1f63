"""What every transport does with a message that has arrived: find the handler, decode, run, encode the answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import msgspec

from pileus.kernel import context as ctx
from pileus.kernel.bus.hops import handling, refusal_in
from pileus.kernel.bus.messages import Handler, Message
from pileus.kernel.errors import RemoteError, ServiceError
from pileus.kernel.observe import hops

log = logging.getLogger(__name__)

MAX_RUNNING_PER_TOPIC = 64
MAX_WAITING_PER_TOPIC = 10_000


class Listener:
    """The handlers of one topic in this process. Errors leave it as `RemoteError`: what a caller elsewhere can see."""

    def __init__(self, topic: str, handlers: Mapping[type[Message], Handler]) -> None:
        self.topic = topic
        self._handlers = {kind.__name__: (kind, handler) for kind, handler in handlers.items()}
        self._slots = asyncio.Semaphore(MAX_RUNNING_PER_TOPIC)
        self._hops = hops.sink()
        self._waiting = 0

    async def handle(self, name: str, payload: bytes) -> bytes:
        """The encoded answer to the message `name`."""
        if name not in self._handlers:
            raise RemoteError(500, "UnknownMessage", f"{self.topic} does not know the message {name}")
        if self._waiting >= MAX_WAITING_PER_TOPIC:
            raise RemoteError(503, "Busy", f"{self.topic} has {self._waiting} messages waiting")
        kind, handler = self._handlers[name]
        hops.collect(self._hops)  # those of whoever listens, not of whoever asked
        self._waiting += 1
        try:
            message = msgspec.msgpack.decode(payload, type=kind)
            with handling(self.topic, message) as hop:
                async with self._slots:
                    hop.has_waited("a free slot")
                    answer = await handler(message)
                hop.fault = refusal_in(answer)
                return msgspec.msgpack.encode(answer)
        except RemoteError:
            raise
        except ServiceError as error:
            raise RemoteError(error.code, error.type, error.text) from error
        except Exception as error:  # a kernel loop: one bad message must not end the others
            log.exception("%s failed to handle %s (request %s)", self.topic, name, ctx.current().request_id)
            raise RemoteError(500, "InternalError", f"{self.topic} failed to handle {name}.") from error
        finally:
            self._waiting -= 1
