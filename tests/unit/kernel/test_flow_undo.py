"""Undo that cannot succeed: the resource is final in bounded time, the clean-up goes on, a delete is not held up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import Conflict, Unavailable
from pileus.kernel.flows import Fault, Flow
from pileus.kernel.flows.execution import MAX_BACKOFF_S, UNDO_ATTEMPTS

from .flow_world import Data, HandClock, World, clocked, flow_of, lines, make_flow, runner_of, running, start
from .toy import FLOWS, set_state, state_of, until

QUICK = 1e-6


def quick(world: World, name: str = "make_book", **options: Any) -> Flow:
    """A flow whose pauses can be waited for."""
    flow = make_flow(world, name, **options)
    steps = tuple(msgspec.structs.replace(step, backoff_s=QUICK) for step in flow.steps)
    return msgspec.structs.replace(flow, steps=steps)


def stuck(tmp_path: Path) -> tuple[World, HandClock, Any, Flow]:
    """A flow that fails at its third step, when the undo of the second one fails as well."""
    world, clock = World(), HandClock()
    world.fail_at["third"] = Conflict("no")
    world.fail_undo["second"] = Unavailable("the sibling is dead")
    return world, clock, clocked(tmp_path, clock), quick(world)


async def test_the_resource_reaches_its_final_state_and_the_clean_up_goes_on_until_it_is_done(tmp_path: Path) -> None:
    world, clock, rt, flow = stuck(tmp_path)
    start(rt, flow)
    runner = runner_of(rt, flow)
    async with running(runner):
        await until(lambda: state_of(rt, "b1"))
        assert state_of(rt, "b1") == "failed conflictingRequest"
        assert world.calls.count("undo second") == UNDO_ATTEMPTS
        found = flow_of(rt)
        assert (found.state, found.settled, found.lease_owner) == ("undoing", True, None)
        assert [flow.id for flow in rt.db.run(FLOWS.cleaning_up)] == [found.id]
        assert world.made == {"first", "second"}

        rt.db.run(set_state, "b1", "touched by somebody else")
        clock.move(MAX_BACKOFF_S + 1)
        runner.ring()
        await until(lambda: world.calls.count("undo second") == UNDO_ATTEMPTS + 1)
        world.fail_undo.clear()
        await until(lambda: flow_of(rt).lease_owner is None)
        clock.move(1_000)
        runner.ring()
        await until(lambda: flow_of(rt).state == "failed")
    assert world.made == set()
    assert state_of(rt, "b1") == "touched by somebody else"  # the final state is set once
    assert lines(rt)[-3:] == [("second", "undone"), ("first", "undone"), ("end", "undone")]
    assert ("second", "settled") in lines(rt)


async def test_the_count_of_undos_survives_a_restart(tmp_path: Path) -> None:
    world, clock, rt, flow = stuck(tmp_path)
    start(rt, flow)
    while not state_of(rt, "b1"):
        before = len(world.calls)
        async with running(runner_of(rt, flow)):
            await until(lambda before=before: len(world.calls) > before)
        clock.move(31)
    assert world.calls.count("undo second") <= 2 * UNDO_ATTEMPTS  # each restart may repeat one


async def test_a_delete_overtakes_a_clean_up_that_cannot_succeed(tmp_path: Path) -> None:
    world, clock, rt, flow = stuck(tmp_path)
    deleting = World()
    delete = make_flow(deleting, "burn_book", overtakes=True)
    start(rt, flow)
    runner = runner_of(rt, flow, delete)
    async with running(runner):
        await until(lambda: state_of(rt, "b1"))
        await rt.db.write(FLOWS.cancel, "b1")
        start(rt, delete)
        runner.ring()
        await until(lambda: flow_of(rt, number=1).state == "done")
        assert state_of(rt, "b1") == "done first second third"
        assert flow_of(rt).state == "undoing"
        world.fail_undo.clear()
        clock.move(1_000)
        runner.ring()
        await until(lambda: flow_of(rt).state == "failed")
    assert world.made == set()
    assert state_of(rt, "b1") == "done first second third"


async def test_a_delete_waits_for_an_undo_that_has_not_been_given_up(tmp_path: Path) -> None:
    world, _, rt, flow = stuck(tmp_path)
    deleting = World()
    delete = make_flow(deleting, "burn_book", overtakes=True)
    start(rt, flow)
    start(rt, delete)
    calls_before_delete: list[int] = []

    def note(tx: Tx, data: Data, fault: Fault) -> None:
        calls_before_delete.append(len(deleting.calls))

    first = quick(world, on_failed=note)
    async with running(runner_of(rt, first, delete)):
        await until(lambda: flow_of(rt, number=1).state == "done")
    assert calls_before_delete == [0]


async def test_other_flows_wait_for_the_clean_up_unless_they_are_cancelled_or_too_old(tmp_path: Path) -> None:
    world, clock, rt, flow = stuck(tmp_path)
    other = make_flow(World(), "sell_book", deadline_s=50.0)
    start(rt, flow)
    start(rt, other)
    start(rt, other)
    runner = runner_of(rt, flow, other)
    async with running(runner):
        await until(lambda: flow_of(rt).settled)
        clock.move(MAX_BACKOFF_S + 1)
        runner.ring()
        await until(lambda: world.calls.count("undo second") > UNDO_ATTEMPTS)
        assert flow_of(rt, number=1).claimed_at is None
        clock.move(30)
        runner.ring()
        await until(lambda: flow_of(rt, number=2).state == "failed")
        assert state_of(rt, "b1") == "failed DeadlineExceeded"
        third = start(rt, other)
        await rt.db.write(FLOWS.cancel, "b1")
        await until(lambda: flow_of(rt, number=3).state == "failed")
        assert flow_of(rt, number=3).id == third
        assert state_of(rt, "b1") == "failed Cancelled"
        assert flow_of(rt).state == "undoing"


async def test_cancelling_what_is_undone_already_does_not_make_it_spin(tmp_path: Path) -> None:
    world, _, rt, flow = stuck(tmp_path)
    start(rt, flow)
    runner = runner_of(rt, flow)
    async with running(runner):
        await until(lambda: flow_of(rt).settled)
        calls = len(world.calls)
        await rt.db.write(FLOWS.cancel, "b1")
        await until(lambda: len(world.calls) == calls + 1)  # one attempt more, at once
        await until(lambda: flow_of(rt).lease_owner is None)
        for _ in range(5):
            runner.ring()
            await runner._take_due()
        assert len(world.calls) == calls + 1
