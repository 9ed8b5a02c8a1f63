"""Hops are recorded without waiting, bounded everywhere, and without secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pileus.kernel import context as ctx
from pileus.kernel.bus import LocalBus, Message
from pileus.kernel.context import Context
from pileus.kernel.errors import Conflict
from pileus.kernel.observe import hops, recorder
from pileus.kernel.observe.hops import Hop, hop
from pileus.kernel.observe.recorder import HopsRecorded, Recorder

from .hop_samples import a_hop

REQUEST = ctx.new_request_id()


class Kept:
    """A sink that keeps everything."""

    host = "h1"

    def __init__(self) -> None:
        self.hops: list[Hop] = []

    def record(self, hop: Hop) -> None:
        self.hops.append(hop)


@pytest.fixture
def kept() -> Iterator[Kept]:
    before, sink = hops.sink(), Kept()
    hops.collect(sink)
    token = ctx.enter(Context(request_id=REQUEST))
    yield sink
    ctx.leave(token)
    hops.collect(before)


# -- recording -------------------------------------------------------------------------------------------------------


def test_a_hop_names_its_cause_and_what_is_inside_names_it(kept: Kept) -> None:
    with hop("r", "outer", resource_id="s1"), hop("r", "inner"):
        pass
    inner, outer = kept.hops
    assert (outer.name, outer.request_id, outer.resource_id, outer.outcome) == ("outer", REQUEST, "s1", "done")
    assert inner.cause == outer.id
    assert ctx.current().cause == ""


def test_an_error_is_the_hops_fault_and_goes_on(kept: Kept) -> None:
    with pytest.raises(Conflict), hop("r", "refused"):
        raise Conflict("It is in use.", detail="by h2")
    with pytest.raises(RuntimeError), hop("r", "broken"):
        raise RuntimeError("password=hunter2")
    refused, broken = kept.hops
    assert refused.fault is not None
    assert (refused.outcome, refused.fault.code, refused.fault.type) == ("failed", 409, "Conflict")
    assert refused.fault.detail == "by h2"
    assert broken.fault is not None
    assert "hunter2" not in repr(broken), "an error that nobody foresaw may hold anything"


async def test_cancelled_work_is_no_failure(kept: Kept) -> None:
    async def work() -> None:
        with hop("r", "long"):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [(one.outcome, one.fault) for one in kept.hops] == [("cancelled", None)]


def test_waiting_is_told_apart_from_working(kept: Kept) -> None:
    with hop("r", "boot") as work:
        work.has_waited("a slot", since=work._began - 2)
        work.has_waited("nothing worth a word")
    assert kept.hops[0].waited_for.startswith("a slot 2")
    assert "nothing" not in kept.hops[0].waited_for


def test_nothing_is_recorded_where_nobody_collects() -> None:
    assert hops.sink() is None
    with hop("r", "outside") as work:
        assert ctx.current().cause == ""
    assert work.fault is None


def test_texts_are_bounded_and_hold_no_tokens(kept: Kept) -> None:
    token = "gAAAAABm" + "y" * 150
    with pytest.raises(Conflict), hop("r", f"GET /v2.0/tokens/{token} " + "n" * 500):
        raise Conflict("t" * 5_000 + token, detail=token + "d" * 5_000)
    only = kept.hops[0]
    assert "gAAAA" not in repr(only)
    assert only.fault is not None
    assert len(only.name) <= hops.MAX_NAME_CHARS
    assert len(only.fault.text) <= hops.MAX_FAULT_CHARS
    assert len(only.fault.detail) <= hops.MAX_DETAIL_CHARS


# -- the bus ---------------------------------------------------------------------------------------------------------


class Beat(Message, frozen=True):
    traced = False
    server_id: str = "s1"


class Part(Message, frozen=True):
    server_id: str


class Build(Message, frozen=True):
    generation: int
    spec: Part


async def test_messages_of_a_request_are_hops_and_heartbeats_are_not(kept: Kept) -> None:
    bus, seen = LocalBus(), []

    async def handle(_message: Any) -> None:
        seen.append(ctx.current())

    bus.listen("agent@h1", {Beat: handle, Part: handle, Build: handle})
    await bus.call("agent@h1", Part(server_id="s7"))
    await bus.call("agent@h1", Build(generation=1, spec=Part(server_id="s8")))
    await bus.call("agent@h1", Beat())
    token = ctx.enter(Context())
    await bus.call("agent@h1", Part(server_id="s9"))
    ctx.leave(token)
    assert [(one.role, one.kind, one.name, one.resource_id) for one in kept.hops] == [
        ("agent", "bus", "Part", "s7"), ("agent", "bus", "Build", "s8"),
    ]
    assert [here.request_id for here in seen] == [REQUEST, REQUEST, REQUEST, ""]
    assert seen[0].cause == kept.hops[0].id


async def test_a_call_that_nobody_answers_is_a_hop_of_the_caller(kept: Kept) -> None:
    bus = LocalBus()
    with pytest.raises(Exception, match="No agent@h2 is running"):
        await bus.call("agent@h2", Part(server_id="s1"))

    async def never(_message: Any) -> None:
        await asyncio.Event().wait()

    bus.listen("agent@h1", {Part: never})
    with pytest.raises(TimeoutError):
        await bus.call("agent@h1", Part(server_id="s1"), timeout_s=0.01)
    assert [(one.kind, one.name, one.outcome) for one in kept.hops] == [
        ("call", "Part to agent@h2", "no answer"), ("call", "Part to agent@h1", "no answer"),
    ]
    await bus.close()


# -- the recorder ----------------------------------------------------------------------------------------------------


async def _flushed(filled: Recorder) -> None:
    task = asyncio.create_task(filled.run_forever())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_full_buffer_drops_the_oldest_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING", 10)
    got: list[Hop] = []

    async def take(batch: Sequence[Hop]) -> None:
        got.extend(batch)

    filled = Recorder("h1", take)
    for number in range(25):
        filled.record(a_hop(number))
    assert filled.dropped == 15
    await _flushed(filled)
    assert [one.id for one in got] == [f"hop-{number}" for number in range(15, 25)]


async def test_requests_of_strangers_cannot_push_out_the_others() -> None:
    got: list[Hop] = []

    async def take(batch: Sequence[Hop]) -> None:
        got.extend(batch)

    filled = Recorder("h1", take)
    filled.record(a_hop(-1))
    for number in range(5_000):
        filled.record(a_hop(number, outcome="401"))
    await _flushed(filled)
    assert len(got) == recorder.MAX_STRANGERS_PER_FLUSH + 1
    assert got[0].id == "hop--1"


async def test_a_recorder_survives_whoever_takes_its_hops(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_batch: Sequence[Hop]) -> None:
        raise OSError(28, "No space left on device")

    filled = Recorder("h1", fail)
    filled.record(a_hop())
    await _flushed(filled)
    assert "1 hops were dropped" in caplog.text


def test_the_message_that_carries_hops_is_not_traced_itself() -> None:
    assert HopsRecorded.traced is False
