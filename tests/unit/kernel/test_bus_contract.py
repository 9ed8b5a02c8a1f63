"""What every transport of the bus promises: the same tests inside one process and over a real broker."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest

from pileus.kernel import context as ctx
from pileus.kernel.bus import Bus, Handler, LocalBus, Message, NoListener
from pileus.kernel.bus.amqp import AmqpBus
from pileus.kernel.bus.messages import MAX_MESSAGE_BYTES, MessageTooLarge
from pileus.kernel.context import Context
from pileus.kernel.errors import Conflict, RemoteError
from unit.kernel.bus_messages import TOPIC, Double, Doubled, Happened, Slow

WAIT_S = 30.0


class Buses(msgspec.Struct):
    """The bus as three processes have it: one that asks, two that answer. Inside one process it is the same one."""

    asking: Bus
    answering: Bus
    other: Bus

    async def listen(self, handlers: Mapping[type[Message], Handler], *, topic: str = TOPIC) -> Any:
        stop = self.answering.listen(topic, handlers)
        await self.answering.settled()
        return stop


@pytest.fixture(params=["local", "amqp"])
async def buses(request: pytest.FixtureRequest) -> AsyncIterator[Buses]:
    if request.param == "local":
        bus = LocalBus()
        yield Buses(bus, bus, bus)
        await bus.close()
        return
    url, cloud = request.getfixturevalue("rabbitmq").url, f"t{uuid.uuid4().hex[:8]}"
    three = [AmqpBus(url, cloud=cloud, name=name) for name in ("asking", "answering", "other")]
    for bus in three:
        await bus.open()
    yield Buses(*three)
    for bus in three:
        await bus.close()


async def double(message: Double) -> Doubled:
    return Doubled(2 * message.number)


async def test_a_call_is_answered(buses: Buses) -> None:
    await buses.listen({Double: double})
    assert await buses.asking.call(TOPIC, Double(number=21)) == Doubled(42)


async def test_many_calls_at_once_get_their_own_answers(buses: Buses) -> None:
    await buses.listen({Double: double})
    answers = await asyncio.gather(*(buses.asking.call(TOPIC, Double(number=n)) for n in range(200)))
    assert [answer.number for answer in answers] == [2 * n for n in range(200)]


async def test_errors_come_back_with_code_type_and_text(buses: Buses) -> None:
    async def refuse(_message: Double) -> Doubled:
        raise Conflict("It is odd.")

    await buses.listen({Double: refuse})
    with pytest.raises(RemoteError) as caught:
        await buses.asking.call(TOPIC, Double(number=1))
    assert (caught.value.code, caught.value.type, caught.value.text) == (409, "conflictingRequest", "It is odd.")


async def test_a_crash_of_the_handler_is_an_error_and_the_next_call_works(buses: Buses) -> None:
    async def crash_on_zero(message: Double) -> Doubled:
        return Doubled(1 // message.number)

    await buses.listen({Double: crash_on_zero})
    with pytest.raises(RemoteError) as caught:
        await buses.asking.call(TOPIC, Double(number=0))
    assert caught.value.code == 500
    assert "ZeroDivision" not in caught.value.text
    assert await buses.asking.call(TOPIC, Double(number=1)) == Doubled(1)


async def test_a_message_that_the_topic_does_not_know_is_refused(buses: Buses) -> None:
    await buses.listen({Double: double})
    with pytest.raises(RemoteError, match="does not know the message Slow"):
        await buses.asking.call(TOPIC, Slow(number=1, after_s=0))


async def test_a_call_ends_at_its_deadline(buses: Buses) -> None:
    released = asyncio.Event()

    async def never(_message: Slow) -> Doubled:
        await released.wait()
        return Doubled(0)

    await buses.listen({Slow: never})
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        await buses.asking.call(TOPIC, Slow(number=1, after_s=0), timeout_s=0.5)
    assert time.monotonic() - begun < 5
    released.set()


async def test_a_topic_that_nobody_serves_is_known_at_once(buses: Buses) -> None:
    begun = time.monotonic()
    with pytest.raises(NoListener, match="No nobody@h1 is running"):
        await buses.asking.call("nobody@h1", Double(number=1), timeout_s=60)
    await buses.asking.cast("nobody@h1", Double(number=1))
    assert time.monotonic() - begun < 5


async def test_a_topic_that_is_not_served_any_more_is_known_at_once(buses: Buses) -> None:
    stop = await buses.listen({Double: double})
    await buses.asking.call(TOPIC, Double(number=1))
    stop()
    await buses.answering.settled()
    begun = time.monotonic()
    with pytest.raises(NoListener):
        await buses.asking.call(TOPIC, Double(number=1), timeout_s=60)
    assert time.monotonic() - begun < 5


async def test_two_listeners_share_a_topic(buses: Buses) -> None:
    async def one(message: Double) -> Doubled:
        return Doubled(message.number, "one")

    async def two(message: Double) -> Doubled:
        return Doubled(message.number, "two")

    await buses.listen({Double: one})
    buses.other.listen(TOPIC, {Double: two})
    await buses.other.settled()
    answers = [await buses.asking.call(TOPIC, Double(number=n)) for n in range(20)]
    assert [answer.number for answer in answers] == list(range(20))
    assert {answer.by for answer in answers} == {"one", "two"}


async def test_a_cast_arrives_once(buses: Buses) -> None:
    heard: list[int] = []
    both = asyncio.Event()

    async def hear(message: Double) -> None:
        heard.append(message.number)
        if message.number == 2:
            both.set()

    await buses.listen({Double: hear})
    await buses.asking.cast(TOPIC, Double(number=1))
    await buses.asking.cast(TOPIC, Double(number=2))
    async with asyncio.timeout(WAIT_S):
        await both.wait()
    assert sorted(heard) == [1, 2]


async def test_an_event_reaches_all_who_subscribed(buses: Buses) -> None:
    heard: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    async def first(event: Happened) -> None:
        heard.put_nowait(("first", event.number))

    async def second(event: Happened) -> None:
        heard.put_nowait(("second", event.number))

    buses.answering.subscribe(Happened, first)
    stop = buses.other.subscribe(Happened, second)
    await buses.answering.settled()
    await buses.other.settled()
    await buses.asking.publish(Happened(number=1))
    async with asyncio.timeout(WAIT_S):
        assert {await heard.get(), await heard.get()} == {("first", 1), ("second", 1)}
    stop()
    await buses.asking.publish(Happened(number=2))
    async with asyncio.timeout(WAIT_S):
        assert await heard.get() == ("first", 2)
    assert heard.empty()


async def test_who_asks_travels_with_the_message(buses: Buses) -> None:
    seen: list[Context] = []

    async def look(message: Double) -> Doubled:
        seen.append(ctx.current())
        return Doubled(message.number)

    await buses.listen({Double: look})
    asker = Context(request_id="req-1", global_request_id="req-2", user_id="u", project_id="p", roles=("member",))
    token = ctx.enter(asker)
    try:
        await buses.asking.call(TOPIC, Double(number=1))
    finally:
        ctx.leave(token)
    assert seen == [asker]


async def test_a_message_beyond_the_bound_is_refused_before_it_is_sent(buses: Buses) -> None:
    class Large(Message, frozen=True):
        reply = Doubled
        data: bytes

    async def take(_message: Large) -> Doubled:
        return Doubled(1)

    await buses.listen({Large: take})
    with pytest.raises(MessageTooLarge):
        await buses.asking.call(TOPIC, Large(data=bytes(MAX_MESSAGE_BYTES)))
    assert await buses.asking.call(TOPIC, Large(data=bytes(2**20)), timeout_s=WAIT_S) == Doubled(1)


async def test_a_cancelled_caller_does_not_cancel_the_work(buses: Buses) -> None:
    begun, finish, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(message: Slow) -> Doubled:
        begun.set()
        await finish.wait()
        done.set()
        return Doubled(message.number)

    await buses.listen({Slow: work})
    call = asyncio.create_task(buses.asking.call(TOPIC, Slow(number=1, after_s=0)))
    async with asyncio.timeout(WAIT_S):
        await begun.wait()
        call.cancel()
        finish.set()
        await done.wait()
    with pytest.raises(asyncio.CancelledError):
        await call
