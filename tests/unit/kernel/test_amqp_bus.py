"""What the bus over a broker promises when processes die: listeners, callers, and the broker itself."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aio_pika
import pytest

from engines.rabbitmq import RabbitMQ
from pileus.kernel.bus import NoListener
from pileus.kernel.bus.amqp import AmqpBus
from pileus.kernel.bus.amqp.names import ABSENT_S
from pileus.kernel.errors import RemoteError
from unit.kernel import bus_messages
from unit.kernel.bus_messages import TOPIC, Die, Double, Doubled, Happened, Slow

WAIT_S = 120.0
TESTS = Path(__file__).parents[2]


@pytest.fixture
def cloud() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def bus(rabbitmq: RabbitMQ, cloud: str) -> AsyncIterator[AmqpBus]:
    bus = AmqpBus(rabbitmq.url, cloud=cloud, name="asking")
    await bus.open()
    yield bus
    await bus.close()


class Worker:
    """A process that listens on `TOPIC`."""

    def __init__(self, broker: RabbitMQ, cloud: str, name: str) -> None:
        self._arguments = (broker.url, cloud, name)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from unit.kernel import bus_messages as m; import asyncio, sys; "
            "asyncio.run(m.work(*sys.argv[1:]))", *self._arguments, cwd=TESTS, stdout=asyncio.subprocess.PIPE,
        )
        await self.says("ready")

    async def says(self, line: str) -> None:
        """Wait for a line of its output."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            while (said := (await self._process.stdout.readline()).decode().strip()) != line:
                assert said, f"the worker ended before it said {line!r}"

    async def died(self) -> None:
        """Wait until it is dead."""
        assert self._process is not None
        async with asyncio.timeout(WAIT_S):
            await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL, unless it is dead already."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@pytest.fixture
async def worker(rabbitmq: RabbitMQ, cloud: str) -> AsyncIterator[Worker]:
    worker = Worker(rabbitmq, cloud, "first")
    await worker.start()
    yield worker
    await worker.kill()


async def test_a_call_survives_the_death_of_its_listener_when_that_comes_back(bus: AmqpBus, worker: Worker) -> None:
    call = asyncio.create_task(bus.call(TOPIC, Slow(number=4, after_s=1.0), timeout_s=WAIT_S))
    await worker.says("begun")
    await worker.kill()
    await worker.start()
    await worker.says("begun")
    assert await call == Doubled(8, "first")


async def test_another_listener_takes_over_what_a_dead_one_had(
    bus: AmqpBus, worker: Worker, rabbitmq: RabbitMQ, cloud: str
) -> None:
    call = asyncio.create_task(bus.call(TOPIC, Slow(number=4, after_s=600, at="first"), timeout_s=WAIT_S))
    await worker.says("begun")
    second = Worker(rabbitmq, cloud, "second")
    await second.start()
    try:
        await worker.kill()
        assert await call == Doubled(8, "second")
    finally:
        await second.kill()


async def test_a_listener_that_does_not_come_back_is_known_long_before_the_deadline(
    bus: AmqpBus, worker: Worker
) -> None:
    call = asyncio.create_task(bus.call(TOPIC, Slow(number=4, after_s=600), timeout_s=600))
    await worker.says("begun")
    await worker.kill()
    begun = time.monotonic()
    with pytest.raises(NoListener):
        await call
    assert time.monotonic() - begun < 4 * ABSENT_S


async def test_a_call_to_a_dead_listener_is_not_executed_after_its_deadline(bus: AmqpBus, worker: Worker) -> None:
    await worker.kill()
    with pytest.raises(TimeoutError):
        await bus.call(TOPIC, Slow(number=1, after_s=0), timeout_s=1)
    await worker.start()
    assert await bus.call(TOPIC, Double(number=1), timeout_s=WAIT_S) == Doubled(2, "first")
    # Had the first message still been there, it would have come before the second.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await worker.says("begun")


async def test_a_message_that_kills_whoever_gets_it_is_put_away(
    bus: AmqpBus, worker: Worker, rabbitmq: RabbitMQ, cloud: str
) -> None:
    call = asyncio.create_task(bus.call(TOPIC, Die(), timeout_s=WAIT_S))
    for _ in range(5):
        await worker.died()
        await worker.start()
    with pytest.raises(RemoteError) as caught:
        await call
    assert caught.value.type == "PoisonMessage"
    assert await bus.call(TOPIC, Double(number=1), timeout_s=WAIT_S) == Doubled(2, "first")
    connection = await aio_pika.connect(rabbitmq.url)
    async with connection, await connection.channel() as channel:
        dead = await (await channel.get_queue(f"{cloud}.dead")).get(timeout=WAIT_S)
        assert dead is not None
        assert (dead.type, dead.headers["topic"]) == ("Die", TOPIC)


async def test_everything_is_back_after_the_broker_was_killed(cloud: str) -> None:
    heard: asyncio.Queue[int] = asyncio.Queue()
    begun = asyncio.Event()
    runs = 0

    async def slow(message: Slow) -> Doubled:
        nonlocal runs
        runs += 1
        begun.set()
        await asyncio.sleep(message.after_s)
        return Doubled(2 * message.number)

    async def double(message: Double) -> Doubled:
        return Doubled(2 * message.number)

    async def happened(event: Happened) -> None:
        heard.put_nowait(event.number)

    with RabbitMQ() as broker:
        asking, answering = (AmqpBus(broker.url, cloud=cloud, name=name) for name in ("asking", "answering"))
        await asking.open()
        await answering.open()
        answering.listen(bus_messages.TOPIC, {Slow: slow, Double: double})
        answering.subscribe(Happened, happened)
        await answering.settled()
        under_way = asyncio.create_task(asking.call(TOPIC, Slow(number=4, after_s=3), timeout_s=WAIT_S))
        async with asyncio.timeout(WAIT_S):
            await begun.wait()
        broker.kill()
        # What is sent while it is away: wake-ups are lost and do not block, calls end at their deadline.
        await asking.publish(Happened(number=1))
        await asking.cast(TOPIC, Double(number=1))
        with pytest.raises(TimeoutError):
            await asking.call(TOPIC, Double(number=1), timeout_s=1)
        patient = asyncio.create_task(asking.call(TOPIC, Double(number=5), timeout_s=WAIT_S))
        await asyncio.to_thread(broker.start)
        assert await patient == Doubled(10)
        assert await under_way == Doubled(8)
        assert runs <= 3  # given again by the broker, and sent again by the caller; never lost
        await answering.settled()
        async with asyncio.timeout(WAIT_S):
            while heard.empty():
                await asking.publish(Happened(number=2))
                await asyncio.sleep(0.2)
        assert heard.get_nowait() == 2
        await asking.close()
        await answering.close()
