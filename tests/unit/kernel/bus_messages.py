"""Messages for the tests of buses, and a process of its own that answers them."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, ClassVar

import msgspec

from pileus.kernel.bus import Event, Message
from pileus.kernel.bus.amqp import AmqpBus

TOPIC = "toy-worker@h1"


class Doubled(msgspec.Struct, frozen=True):
    """The answer."""

    number: int
    by: str = ""


class Double(Message, frozen=True):
    """Asks for twice the number."""

    reply: ClassVar[Any] = Doubled
    number: int


class Slow(Message, frozen=True):
    """Asks for the same, some time later. `at`: only the worker of that name takes its time."""

    reply: ClassVar[Any] = Doubled
    number: int
    after_s: float
    at: str = ""


class Die(Message, frozen=True):
    """Kills who receives it."""

    reply: ClassVar[Any] = Doubled


class Happened(Event, frozen=True):
    """Something happened."""

    number: int


async def work(url: str, cloud: str, name: str) -> None:
    """Listen until killed. What is begun is told to the parent, one line each."""
    bus = AmqpBus(url, cloud=cloud, name=name)

    async def double(message: Double) -> Doubled:
        return Doubled(2 * message.number, name)

    async def slow(message: Slow) -> Doubled:
        print("begun", flush=True)
        if message.at in ("", name):
            await asyncio.sleep(message.after_s)
        return Doubled(2 * message.number, name)

    async def die(_message: Die) -> Doubled:
        os.kill(os.getpid(), 9)
        raise AssertionError("unreachable")

    await bus.open()
    bus.listen(TOPIC, {Double: double, Slow: slow, Die: die})
    await bus.settled()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
