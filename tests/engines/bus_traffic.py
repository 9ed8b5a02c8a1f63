"""Calls, casts and events that flow all the time, and what became of each."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from typing import Self

from pileus.kernel.bus.amqp import AmqpBus
from unit.kernel.bus_messages import TOPIC, Double, Doubled, Happened, Slow

CALLERS = 8
WORK_S = 0.02
PAUSE_S = 0.02
CALL_TIMEOUT_S = 150.0
QUIET_S = 1.0
SETTLE_S = 60.0


class Traffic:
    """One process that asks, one that answers, as two buses. A call is a `Slow`, a cast is a `Double`."""

    def __init__(self, urls: Sequence[str], cloud: str) -> None:
        self.asking, self.answering = (AmqpBus(urls, cloud=cloud, name=name) for name in ("asking", "answering"))
        self.calls, self.casts, self.events = Counter[int](), Counter[int](), Counter[int]()  # how often acted upon
        self.answered: list[float] = []  # when
        self.heard: list[float] = []
        self.wrong: list[str] = []
        self.accepted: set[int] = set()  # casts that the broker confirmed
        self.told: set[int] = set()  # events likewise
        self._asked = 0
        self._going = True
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.asking.open()
        await self.answering.open()
        self.answering.listen(TOPIC, {Slow: self._slow, Double: self._double})
        self.answering.subscribe(Happened, self._happened)
        await self.answering.settled()
        begin = asyncio.get_running_loop().create_task
        self._tasks = [begin(self._call()) for _ in range(CALLERS)] + [begin(self._cast()), begin(self._tell())]
        await self.goes_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.asking.close()
        await self.answering.close()

    async def goes_on(self, count: int = 100) -> float:
        """Until as many more calls have been answered; the longest time without any from now on, in s."""
        have, begun = len(self.answered), time.monotonic()
        async with asyncio.timeout(CALL_TIMEOUT_S):
            while len(self.answered) < have + count:
                await asyncio.sleep(PAUSE_S)
        times = [begun, *self.answered[have:]]
        return max(b - a for a, b in itertools.pairwise(times))

    async def ends(self) -> None:
        """Ask no more; returns when nothing is under way any more."""
        self._going = False
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await asyncio.gather(*self._tasks)
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until and self.accepted - set(self.casts):
            await asyncio.sleep(PAUSE_S)
        await asyncio.sleep(QUIET_S)  # what would come twice has come by now

    def check(self) -> None:
        """Nothing accepted was lost, nothing acted upon twice."""
        assert self.wrong == []
        assert len(self.answered) == self._asked == len(self.calls)
        assert self.accepted - set(self.casts) == set(), "accepted casts were lost"
        twice = {kind: [n for n, runs in seen.items() if runs > 1] for kind, seen in self._seen().items()}
        assert twice == {"calls": [], "casts": [], "events": []}

    def figures(self) -> str:
        """For the log of the test."""
        return (
            f"{len(self.answered)} calls answered, {len(self.accepted)} casts accepted and {len(self.casts)} handled, "
            f"{len(self.told)} events told and {len(self.events)} heard, {self.asking.lost} lost for want of a broker"
        )

    def _seen(self) -> dict[str, Counter[int]]:
        return {"calls": self.calls, "casts": self.casts, "events": self.events}

    async def _call(self) -> None:
        while self._going:
            self._asked += 1
            number = self._asked
            try:
                answer = await self.asking.call(TOPIC, Slow(number=number, after_s=WORK_S), timeout_s=CALL_TIMEOUT_S)
                if answer.number != 2 * number:
                    self.wrong.append(f"{number}: {answer}")
            except Exception as error:
                self.wrong.append(f"{number}: {error!r}")
            self.answered.append(time.monotonic())

    async def _cast(self) -> None:
        bus = AmqpBusCounter(self.asking)
        number = 0
        while self._going:
            number += 1
            await bus.cast(number, self.accepted)
            await asyncio.sleep(PAUSE_S)

    async def _tell(self) -> None:
        number = 0
        while self._going:
            number += 1
            await self.answering.publish(Happened(number=number))
            self.told.add(number)
            await asyncio.sleep(PAUSE_S)

    async def _slow(self, message: Slow) -> Doubled:
        self.calls[message.number] += 1
        await asyncio.sleep(message.after_s)
        return Doubled(2 * message.number)

    async def _double(self, message: Double) -> Doubled:
        self.casts[message.number] += 1
        return Doubled(0)

    async def _happened(self, event: Happened) -> None:
        self.events[event.number] += 1
        self.heard.append(time.monotonic())


class AmqpBusCounter:
    """Casts, and tells which of them a broker accepted. Nobody else may cast on that bus meanwhile."""

    def __init__(self, bus: AmqpBus) -> None:
        self._bus = bus

    async def cast(self, number: int, accepted: set[int]) -> None:
        lost = self._bus.lost
        await self._bus.cast(TOPIC, Double(number=number))
        if self._bus.lost == lost:
            accepted.add(number)
