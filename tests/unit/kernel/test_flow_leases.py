"""Who runs a flow: one runner at a time, and whoever has lost it cannot write another line."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.kernel.context import Clock
from pileus.kernel.flows import Flow, LeaseLost, Run, Step

from .flow_process import LEASE_S, slow_flow
from .flow_world import (
    NAMES,
    Data,
    HandClock,
    World,
    clocked,
    flow_of,
    lines,
    make_flow,
    run_until,
    runner_of,
    running,
    start,
)
from .toy import FLOWS, runtime, set_state, state_of, until

PROJECT = Path(__file__).parents[3]


def claim(rt: Any, owner: str, flow: Flow, lease_s: float = 30.0) -> list[Any]:
    return rt.db.run(FLOWS.claim, owner, lease_s, 10, [(flow.name, flow.version)])


def write_line(rt: Any, row: Any) -> None:
    rt.db.run(
        FLOWS.write_progress, row.id, lease=row.lease, host="h", at_step="first", event="done", duration_ms=0,
        detail="", step=1,
    )


async def test_another_runner_takes_over_when_the_lease_has_ended_not_before(tmp_path: Path) -> None:
    clock = HandClock()
    rt, flow = clocked(tmp_path, clock), make_flow(World())
    start(rt, flow)
    assert [row.lease.number for row in claim(rt, "one", flow)] == [1]
    assert claim(rt, "two", flow) == []
    clock.move(29)
    assert claim(rt, "two", flow) == []
    clock.move(2)
    [row] = claim(rt, "two", flow)
    assert (row.lease.number, row.taken_over) == (2, "one")


async def test_a_runner_without_its_lease_writes_nothing(tmp_path: Path) -> None:
    clock = HandClock()
    rt, flow = clocked(tmp_path, clock), make_flow(World())
    start(rt, flow)
    [old] = claim(rt, "one", flow)
    clock.move(31)
    [new] = claim(rt, "one", flow)  # even of the same name
    with pytest.raises(LeaseLost):
        write_line(rt, old)
    assert lines(rt) == []
    assert rt.db.run(FLOWS.renew, {old.id: old.lease}, 30.0) == [old.id]
    assert rt.db.run(FLOWS.renew, {new.id: new.lease}, 30.0) == []
    write_line(rt, new)
    assert lines(rt) == [("first", "done")]
    assert flow_of(rt).step == 1


async def test_a_lease_that_ran_out_still_counts_while_nobody_has_taken_over(tmp_path: Path) -> None:
    clock = HandClock()
    rt, flow = clocked(tmp_path, clock), make_flow(World())
    start(rt, flow)
    [row] = claim(rt, "one", flow)
    clock.move(60)
    assert rt.db.run(FLOWS.renew, {row.id: row.lease}, 30.0) == []
    assert claim(rt, "two", flow) == []


async def test_a_step_of_a_lost_flow_cannot_write_in_its_middle_either(tmp_path: Path) -> None:
    rt, caught = runtime(tmp_path), []

    async def write_late(run: Run[Data]) -> None:
        await run.write(set_state, run.data.book_id, "in time")
        await rt.db.write(FLOWS.release_all, "o")
        assert claim(rt, "thief", flow)
        try:
            await run.write(set_state, run.data.book_id, "late")
        except LeaseLost as error:
            caught.append(error)
            raise

    flow = make_flow(World(), steps=(Step(name="write", do=write_late),))
    start(rt, flow)
    async with running(runner_of(rt, flow)):
        await until(lambda: caught)
    assert state_of(rt, "b1") == "in time"
    assert lines(rt) == []


async def test_a_process_that_was_frozen_across_its_lease_leaves_the_flow_to_its_successor(tmp_path: Path) -> None:
    rt = clocked(tmp_path, Clock(), host="next-host")
    flow = slow_flow(tmp_path, waits=False)
    start(rt, flow)
    frozen = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.kernel.flow_process", str(tmp_path)], cwd=PROJECT, text=True,
        env=os.environ | {"PYTHONPATH": f"{PROJECT}:{PROJECT}/tests"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    try:
        await until((tmp_path / "reached").exists, 60.0)
        frozen.send_signal(signal.SIGSTOP)
        async with running(runner_of(rt, flow, owner="next", lease_s=LEASE_S)):
            await until(lambda: flow_of(rt).state == "done", 60.0)
            (tmp_path / "go").touch()
            frozen.send_signal(signal.SIGCONT)
            assert frozen.stdout is not None
            await asyncio.to_thread(frozen.stdout.readline)  # it says that it leaves the flow
    finally:
        frozen.kill()
        rest = frozen.communicate()[0]
    assert state_of(rt, "b1") == "done", rest
    journal = rt.db.run(lambda tx: FLOWS.lines(tx, "b1"))
    assert [(line.host, line.step, line.event) for line in journal] == [
        ("frozen-host", "first", "done"), ("next-host", "second", "resumed"), ("next-host", "second", "done"),
        ("next-host", "end", "done"),
    ]


@pytest.mark.parametrize("engine", ["sqlite", "mariadb"])
async def test_several_runners_share_the_flows_and_never_run_one_twice_at_the_same_time(
    tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("mariadb").url("unit_flows") if engine == "mariadb" else None
    inside: Counter[str] = Counter()
    ran: Counter[str] = Counter()

    def step(name: str) -> Step:
        async def do(run: Run[Data]) -> None:
            inside[run.resource_id] += 1
            assert inside[run.resource_id] == 1, f"{run.resource_id} is run twice at the same time"
            await asyncio.sleep(0)
            ran[f"{run.resource_id} {name}"] += 1
            run.with_journal(lambda tx: None)
            inside[run.resource_id] -= 1

        return Step(name=name, do=do)

    hosts = [clocked(tmp_path, Clock(), f"h{number}", url) for number in range(3)]
    flow = make_flow(World(), steps=tuple(step(name) for name in NAMES))
    for number in range(20):
        start(hosts[0], flow, f"b{number}")
        start(hosts[0], flow, f"b{number}")
    runners = [runner_of(rt, flow, owner=rt.host, concurrency=4) for rt in hosts]
    async with running(*runners):
        await until(lambda: all(flow_of(hosts[0], f"b{n}", 1).state in ("done", "failed") for n in range(20)), 60.0)
    assert all(flow_of(hosts[0], f"b{n}", k).state == "done" for n in range(20) for k in range(2))
    assert set(ran.values()) == {2}
    assert len(ran) == 60


async def test_what_stopped_unexpectedly_is_handed_back_though_its_runner_goes_on(tmp_path: Path) -> None:
    rt, clock = clocked(tmp_path, clock := HandClock()), clock
    flow = make_flow(World())
    damaged = start(rt, flow, "damaged")
    rt.db.run(lambda tx: tx.execute(FLOWS.flows.update().where(FLOWS.flows.c.id == damaged).values(data="{}")))
    blocking = World()
    blocking.block_at = "first"
    busy = make_flow(blocking, "busy_book")
    start(rt, busy, "busy")
    async with running(runner_of(rt, flow, busy)):
        await until(lambda: blocking.reached.is_set() and flow_of(rt, "damaged").lease_owner is None)
        assert flow_of(rt, "damaged").claimed_at is not None
        assert flow_of(rt, "damaged").state == "running"
    rt.db.run(
        lambda tx: tx.execute(
            FLOWS.flows.update().where(FLOWS.flows.c.id == damaged)
            .values(data=msgspec.json.encode(Data("damaged")).decode())
        )
    )
    clock.move(1_000)
    await run_until(runner_of(rt, flow), lambda: state_of(rt, "damaged"))
    assert state_of(rt, "damaged") == "done first second third"


async def test_a_runner_that_ends_leaves_its_flows_to_others_at_once(tmp_path: Path) -> None:
    world, rt = World(), runtime(tmp_path)
    world.block_at = "second"
    flow = make_flow(world)
    start(rt, flow)
    await run_until(runner_of(rt, flow, owner="one"), world.reached.is_set)
    world.block_at = None
    await run_until(runner_of(rt, flow, owner="two"), lambda: state_of(rt, "b1"))  # no clock was moved
    assert state_of(rt, "b1") == "done first second third"
