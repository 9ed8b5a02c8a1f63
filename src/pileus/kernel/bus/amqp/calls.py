"""Calls under way: sent, sent again when the connection was lost meanwhile, answered in a queue of this process."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid

import aio_pika
import msgspec
from aio_pika.abc import AbstractIncomingMessage, HeadersType

from pileus.kernel import context as ctx
from pileus.kernel.bus.amqp.link import Link, Pause, Session
from pileus.kernel.bus.amqp.names import ABSENT_S, Names
from pileus.kernel.bus.amqp.sender import LOST, Disconnected, Refused, Unroutable, cancelled_by_us
from pileus.kernel.bus.messages import NoListener
from pileus.kernel.errors import RemoteError

PROBE_S = 5.0
REFUSED_S = 30.0
CONTEXT, FAULT = "context", "fault"


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """A `RemoteError` on its way."""

    code: int
    type: str
    text: str


def headers() -> HeadersType:
    """Who asks, and under which request."""
    return {CONTEXT: msgspec.json.encode(ctx.current()).decode()}


class _Call:
    """One call, sent as often as it takes. `patient`: the broker was disturbed since it began, or has had it before, so
    that a topic without a queue may only be one whose listeners are not back yet."""

    def __init__(self, topic: str, name: str, payload: bytes, deadline: float) -> None:
        self.id = uuid.uuid4().hex
        self.topic = topic
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.pause = Pause()
        self.patient = False
        self.refused_since = self.unroutable_since = 0.0  # 0: the last try was neither
        self._deadline = deadline
        self._name = name
        self._payload = payload
        self._headers = headers()

    def message(self, reply_to: str) -> aio_pika.Message:
        """Not to be executed once nobody waits for the answer any more."""
        return aio_pika.Message(
            self._payload, type=self._name, message_id=self.id, correlation_id=self.id, reply_to=reply_to,
            headers=self._headers, delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            expiration=max(self._deadline - time.monotonic(), 0.001),
        )


class Calls:
    """Makes calls. An answer finds its call by the call's id, whichever connection it was sent on."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        self._answers: dict[str, asyncio.Future[bytes]] = {}
        self._reply_to = ""
        self._presence = Presence(names)

    async def prepare(self, session: Session) -> None:
        """A queue for answers, which only this connection reads and which goes with it."""
        channel = await session.connection.channel(publisher_confirms=False)
        channel.close_callbacks.add(session.fail)
        queue = await channel.declare_queue(f"{self._names.cloud}.reply.{uuid.uuid4().hex}", exclusive=True)
        await queue.consume(self._answered, no_ack=True)
        self._reply_to = queue.name

    async def call(self, topic: str, name: str, payload: bytes, timeout_s: float) -> bytes:
        """The encoded answer. Raises `RemoteError`, `NoListener` or TimeoutError."""
        call = _Call(topic, name, payload, time.monotonic() + timeout_s)
        self._answers[call.id] = call.answer
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    session = await self._link.session()
                    if await self._sent(session, call) and await self._awaited(session, topic, call.answer):
                        return call.answer.result()
        finally:
            del self._answers[call.id]

    async def _sent(self, session: Session, call: _Call) -> bool:
        """Whether the broker has it. False: to be tried again. Raises what makes that pointless."""
        try:
            await session.send(self._names.queue(call.topic), call.message(self._reply_to), mandatory=True)
        except Disconnected:
            call.patient = True
            return False
        except Refused:
            # Full, or the broker has just begun, or lost a member, and its queues are not all there yet.
            call.patient = True
            call.refused_since = call.refused_since or time.monotonic()
            if time.monotonic() - call.refused_since > REFUSED_S:
                raise RemoteError(503, "Busy", f"{call.topic} has too many messages waiting") from None
            await call.pause.wait()
            return False
        except Unroutable:
            # After anything went wrong with the broker, listeners may just not be back yet.
            call.unroutable_since = call.unroutable_since or time.monotonic()
            if not call.patient or time.monotonic() - call.unroutable_since > ABSENT_S:
                raise NoListener(topic=call.topic) from None
            await call.pause.wait()
            return False
        call.patient = True
        call.refused_since = call.unroutable_since = 0.0
        return True

    async def _awaited(self, session: Session, topic: str, answer: asyncio.Future[bytes]) -> bool:
        """True when it is answered, False when the connection is lost. Raises `NoListener` when all who could have
        answered are gone for good."""
        while not answer.done():
            if session.lost.done():
                return False
            waited_for: set[asyncio.Future[bytes] | asyncio.Future[None]] = {answer, session.lost}
            done, _ = await asyncio.wait(waited_for, timeout=PROBE_S, return_when=asyncio.FIRST_COMPLETED)
            if not done and await self._presence.absent_s(session, topic) >= ABSENT_S:
                raise NoListener(topic=topic)
        return True

    async def _answered(self, message: AbstractIncomingMessage) -> None:
        answer = self._answers.get(message.correlation_id or "")
        if answer is None or answer.done():
            return  # nobody waits for it any more
        fault = message.headers.get(FAULT)
        if isinstance(fault, str):
            error = msgspec.json.decode(fault, type=Fault)
            answer.set_exception(RemoteError(error.code, error.type, error.text))
        else:
            answer.set_result(message.body)


class Presence:
    """How long nobody has served a topic, found out by asking the broker once in a while."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._asked: dict[str, float] = {}
        self._absent_since: dict[str, float] = {}

    async def absent_s(self, session: Session, topic: str) -> float:
        """In seconds; 0 while somebody serves it."""
        now = time.monotonic()
        if now - self._asked.get(topic, 0.0) >= PROBE_S / 2:
            self._asked[topic] = now
            if await self._is_served(session, topic):
                self._absent_since.pop(topic, None)
            else:
                self._absent_since.setdefault(topic, now)
        since = self._absent_since.get(topic)
        return 0.0 if since is None else now - since

    async def _is_served(self, session: Session, topic: str) -> bool:
        try:
            channel = await session.connection.channel(publisher_confirms=False)
            try:
                queue = await channel.get_queue(self._names.queue(topic), ensure=True)
                return bool(queue.declaration_result.consumer_count)
            except LOST:
                return session.lost.done()  # no such queue, unless it was the connection
            finally:
                with contextlib.suppress(*LOST):
                    await channel.close()
        except (asyncio.CancelledError, *LOST):
            if cancelled_by_us():
                raise
            return True  # not known; the lost connection is somebody else's business
