"""A flow in flight survives an upgrade of the code, and what the code does not know is kept and told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.kernel.context import Context
from pileus.kernel.flows import FlowRunner, Run, Step

from .flow_world import Data, HandClock, World, clocked, flow_of, lines, make_flow, run_until, runner_of, running, start
from .toy import FLOWS, runtime, state_of, until


async def test_a_flow_of_version_1_ends_by_the_steps_of_version_1(tmp_path: Path) -> None:
    old, new, rt = World(), World(), runtime(tmp_path)
    old.block_at = "second"
    version_1 = make_flow(old)
    start(rt, version_1)
    await run_until(runner_of(rt, version_1), old.reached.is_set)
    old.block_at = None

    async def only(run: Run[Data]) -> None:
        new.calls.append("only")

    version_2 = make_flow(new, steps=(Step(name="only", do=only),), version=2)
    start(rt, version_2, "b2")
    await run_until(runner_of(rt, version_1, version_2), lambda: state_of(rt, "b1") and state_of(rt, "b2"))
    assert state_of(rt, "b1") == "done first second third"
    assert lines(rt, "b2") == [("only", "done"), ("end", "done")]
    assert new.calls == ["only"]


async def test_data_written_before_a_field_was_added_is_read_with_its_default(tmp_path: Path) -> None:
    old, rt = World(), runtime(tmp_path)
    old.block_at = "second"
    flow = make_flow(old)
    start(rt, flow)
    await run_until(runner_of(rt, flow), old.reached.is_set)

    class NewerData(Data):
        tags: tuple[str, ...] = ("none",)

    seen: list[Any] = []
    newer = make_flow(World(), data=NewerData, on_done=lambda tx, data: seen.append(data))
    await run_until(runner_of(rt, newer), lambda: seen)
    assert seen[0] == NewerData("b1", ["first", "second", "third"], ("none",))


async def test_a_flow_that_nobody_knows_stays_and_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rt = runtime(tmp_path)
    flow, newer = make_flow(World()), make_flow(World(), version=2)
    start(rt, newer, "b1")
    start(rt, newer, "b3")
    start(rt, flow, "b2")
    runner = runner_of(rt, flow)
    with caplog.at_level(logging.ERROR):
        async with running(runner):
            await until(lambda: state_of(rt, "b2") and caplog.records)
            await runner._tell_unknown()
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == ["flow make_book version 2"]
    unknown = rt.db.run(FLOWS.unknown, [("make_book", 1)])
    assert [(found.resource_id, found.state, found.claimed_at) for found in unknown] == [
        ("b1", "running", None), ("b3", "running", None),
    ]
    await run_until(runner_of(rt, flow, newer), lambda: state_of(rt, "b1") and state_of(rt, "b3"))


async def test_two_definitions_of_one_version_are_refused(tmp_path: Path) -> None:
    rt = runtime(tmp_path)
    with pytest.raises(ValueError, match="two flows are called make_book version 1"):
        FlowRunner(rt, FLOWS, [make_flow(World()), make_flow(World())], owner="o")


def test_steps_of_one_flow_have_different_names() -> None:
    steps = make_flow(World()).steps
    with pytest.raises(ValueError, match="a name of its own"):
        make_flow(World(), steps=(*steps, msgspec.structs.replace(steps[0])))


async def test_overdue_flows_are_found(tmp_path: Path) -> None:
    clock = HandClock()
    rt, flow = clocked(tmp_path, clock), make_flow(World(), deadline_s=100.0)
    start(rt, flow)
    assert rt.db.run(lambda tx: FLOWS.overdue(tx, tx.now(), 50.0)) == []
    clock.move(149)
    assert rt.db.run(lambda tx: FLOWS.overdue(tx, tx.now(), 50.0)) == []
    clock.move(2)
    [found] = rt.db.run(lambda tx: FLOWS.overdue(tx, tx.now(), 50.0))
    assert (found.resource_id, found.step, found.attempt, found.queued_s) == ("b1", 0, 0, None)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1"))
    assert rt.db.run(lambda tx: FLOWS.overdue(tx, tx.now(), 50.0)) == []
    assert flow_of(rt).queued_s > 100


async def test_journals_are_found_by_request(tmp_path: Path) -> None:
    rt, flow = runtime(tmp_path), make_flow(World())
    for number in (1, 2):
        asked = Context(request_id=f"req-{number}", global_request_id="req-0")
        rt.db.run(FLOWS.start, flow, f"b{number}", Data(f"b{number}"), asked)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1") and state_of(rt, "b2"))
    by_own = rt.db.run(FLOWS.lines_of_request, "req-1")
    assert [line.resource_id for line in by_own] == ["b1"] * 4
    assert all(line.claimed_at >= line.created_at for line in by_own)
    assert {line.resource_id for line in rt.db.run(FLOWS.lines_of_request, "req-0")} == {"b1", "b2"}
    assert [found.resource_id for found in rt.db.run(FLOWS.of_request, "req-0")] == ["b1", "b2"]
