"""Flows keep their promises: they end, they undo themselves, they resume, they can be stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pileus.kernel.db import Tx
from pileus.kernel.errors import Conflict
from pileus.kernel.flows import Flow, Retry, Run, Step

from .flow_world import NAMES, Data, HandClock, World, clocked, lines, make_flow, run_until, runner_of, running, start
from .toy import FLOWS, runtime, set_state, state_of, until


async def test_a_flow_runs_its_steps_in_order_and_ends(tmp_path: Path) -> None:
    world, rt = World(), runtime(tmp_path)
    flow = make_flow(world)
    start(rt, flow)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1"))
    assert state_of(rt, "b1") == "done first second third"
    assert lines(rt) == [("first", "done"), ("second", "done"), ("third", "done"), ("end", "done")]


@pytest.mark.parametrize("failing", NAMES)
async def test_failure_at_each_step_unwinds_everything(tmp_path: Path, failing: str) -> None:
    world, rt = World(), runtime(tmp_path)
    world.fail_at[failing] = Conflict("no")
    flow = make_flow(world)
    start(rt, flow)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1"))
    assert state_of(rt, "b1") == "failed conflictingRequest"
    assert world.made == set()


async def test_a_step_that_is_not_ready_is_tried_again_a_bounded_number_of_times(tmp_path: Path) -> None:
    world, rt = World(), runtime(tmp_path)
    world.fail_at["second"] = Retry("not yet", after_s=0.01)
    flow = make_flow(world)
    start(rt, flow)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1"))
    assert world.calls.count("second") == 2
    assert state_of(rt, "b1") == "failed NotReady"
    assert world.made == set()


async def test_a_step_that_waits_long_gives_its_place_to_others(tmp_path: Path) -> None:
    world, clock = World(), HandClock()
    rt = clocked(tmp_path, clock)
    world.fail_at["first"] = Retry("not yet", after_s=20.0)
    waiting, other = make_flow(world), make_flow(World(), "make_shelf")
    start(rt, waiting)
    runner = runner_of(rt, waiting, other, concurrency=1)
    async with running(runner):
        await until(lambda: lines(rt) == [("first", "retry")])
        start(rt, other, "b2")
        runner.ring()
        await until(lambda: state_of(rt, "b2"))
        world.fail_at.clear()
        assert world.calls == ["first"]
        clock.move(21)
        runner.ring()
        await until(lambda: state_of(rt, "b1"))
    assert state_of(rt, "b1") == "done first second third"


async def test_attempts_are_counted_across_restarts(tmp_path: Path) -> None:
    world, clock = World(), HandClock()
    rt = clocked(tmp_path, clock)
    world.fail_at["first"] = Retry("not yet", after_s=20.0)
    flow = make_flow(world)
    start(rt, flow)
    await run_until(runner_of(rt, flow), lambda: lines(rt))
    clock.move(21)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1"))
    assert world.calls == ["first", "first", "undo first"]
    assert [row.attempt for row in rt.db.run(lambda tx: FLOWS.lines(tx, "b1"))] == [0, 1, 0, 0]


async def test_what_a_step_leaves_to_its_journal_line_is_written_with_it_or_not_at_all(tmp_path: Path) -> None:
    rt, tries, seen = runtime(tmp_path), [0], []

    def write(tx: Tx, book_id: str, state: str) -> None:
        tries[0] += 1
        set_state(tx, book_id, state)
        if tries[0] == 1:
            raise Retry("not yet", after_s=0.01)

    async def mark(run: Run[Data]) -> None:
        seen.append(state_of(run.rt, run.data.book_id))
        run.with_journal(write, run.data.book_id, "marked")

    async def look(run: Run[Data]) -> None:
        seen.append(state_of(run.rt, run.data.book_id))

    flow = Flow(
        name="mark_book", data=Data, steps=(Step(name="mark", do=mark), Step(name="look", do=look)),
        on_done=lambda tx, data: set_state(tx, data.book_id, "done"),
        on_failed=lambda tx, data, fault: set_state(tx, data.book_id, "failed"),
    )
    start(rt, flow)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1") in ("done", "failed"))
    assert seen == [None, None, "marked"]  # the first try's write went with its transaction
    assert lines(rt) == [("mark", "retry"), ("mark", "done"), ("look", "done"), ("end", "done")]


@pytest.mark.parametrize("dying", NAMES)
async def test_a_flow_whose_runner_dies_is_resumed_where_its_journal_ends(tmp_path: Path, dying: str) -> None:
    world, rt = World(), runtime(tmp_path)
    world.block_at = dying
    flow = make_flow(world)
    start(rt, flow)
    await run_until(runner_of(rt, flow), world.reached.is_set)
    world.block_at = None
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1"))
    assert state_of(rt, "b1") == "done first second third"
    assert world.calls.count(dying) == 2
    assert sum(world.calls.count(name) for name in NAMES) == 4
    assert lines(rt).count((dying, "resumed")) == 1


async def test_a_cancelled_flow_stops_in_the_middle_of_a_step_and_undoes_itself(tmp_path: Path) -> None:
    world, rt = World(), runtime(tmp_path)
    world.block_at = "second"
    flow = make_flow(world)
    start(rt, flow)
    async with running(runner_of(rt, flow)):
        await until(world.reached.is_set)
        await rt.db.write(FLOWS.cancel, "b1")
        await until(lambda: state_of(rt, "b1"))
    assert state_of(rt, "b1") == "failed Cancelled"
    assert world.made == set()


async def test_a_cancel_does_not_wait_for_the_next_attempt(tmp_path: Path) -> None:
    world, rt = World(), runtime(tmp_path)
    world.fail_at["second"] = Retry("not yet", after_s=3_000.0)
    flow = make_flow(world)
    start(rt, flow)
    async with running(runner_of(rt, flow)):
        await until(lambda: ("second", "retry") in lines(rt))
        await rt.db.write(FLOWS.cancel, "b1")
        await until(lambda: state_of(rt, "b1"))
    assert state_of(rt, "b1") == "failed Cancelled"


async def test_flows_of_one_resource_run_one_after_the_other(tmp_path: Path) -> None:
    world, rt = World(), runtime(tmp_path)
    flow = make_flow(world)
    start(rt, flow)
    start(rt, flow)
    await run_until(runner_of(rt, flow), lambda: lines(rt).count(("end", "done")) == 2)
    assert world.calls == [*NAMES, *NAMES]


async def test_a_flow_past_its_deadline_is_undone(tmp_path: Path) -> None:
    world, rt = World(), runtime(tmp_path)
    flow = make_flow(world, deadline_s=0.0)
    start(rt, flow)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1"))
    assert state_of(rt, "b1") == "failed DeadlineExceeded"
    assert world.calls == ["undo first"]


async def test_a_running_step_is_cut_off_at_the_flows_deadline(tmp_path: Path) -> None:
    world, rt = World(), runtime(tmp_path)
    world.block_at = "second"
    flow = make_flow(world, deadline_s=1.0)
    start(rt, flow)
    async with running(runner_of(rt, flow)):
        await until(lambda: state_of(rt, "b1"), 30.0)  # the step's own limit is a minute
    assert state_of(rt, "b1") == "failed DeadlineExceeded"
    assert world.made == set()


async def test_what_fails_in_the_last_transaction_is_undone_as_well(tmp_path: Path) -> None:
    world, rt = World(), runtime(tmp_path)

    def broken(tx: Tx, data: Data) -> None:
        raise KeyError("no such thing")

    flow = make_flow(world, on_done=broken)
    start(rt, flow)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1"))
    assert state_of(rt, "b1") == "failed InternalError"
    assert world.made == set()


async def test_a_step_that_ends_as_if_cancelled_has_failed(tmp_path: Path) -> None:
    rt = runtime(tmp_path)

    async def give_up(run: Run[Data]) -> None:
        raise asyncio.CancelledError

    flow = make_flow(World(), steps=(Step(name="give_up", do=give_up),))
    start(rt, flow)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "b1"))
    assert state_of(rt, "b1") == "failed InternalError"
