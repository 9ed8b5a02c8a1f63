"""Reconcilers: run when rung, one run at a time, and outlive whatever a run does."""

from __future__ import annotations

import asyncio
import logging

import pytest

from pileus.kernel.tasks import Reconciler


async def test_a_run_that_never_ends_is_given_up_and_others_do_not_notice(caplog: pytest.LogCaptureFixture) -> None:
    begun, ended, others = 0, [], asyncio.Event()

    async def hang() -> None:
        nonlocal begun
        begun += 1
        try:
            await asyncio.Future()
        finally:
            ended.append(begun)

    async def other() -> None:
        others.set()

    hanging = Reconciler("hanging", hang, every_s=0.01, limit_s=0.2)
    tasks = [asyncio.create_task(each.run_forever()) for each in (hanging, Reconciler("other", other, every_s=0.01))]
    try:
        async with asyncio.timeout(10):
            while begun == 0:
                await asyncio.sleep(0)
            await others.wait()
            with caplog.at_level(logging.ERROR):
                while hanging.runs < 2:
                    await asyncio.sleep(0.01)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert ended[:2] == [1, 2]  # each was really ended before the next began
    assert "hanging did not end within 0.2 s and was given up" in caplog.text


async def test_a_failure_is_survived_and_a_ring_during_a_run_is_kept() -> None:
    runs: list[int] = []
    first_runs = asyncio.Event()

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            first_runs.set()
            raise TimeoutError("its own, not the reconciler's")

    reconciler = Reconciler("failing", work, every_s=3600)
    task = asyncio.create_task(reconciler.run_forever())
    try:
        async with asyncio.timeout(10):
            await first_runs.wait()
            reconciler.ring()
            while len(runs) < 2:
                await asyncio.sleep(0)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert runs == [0, 1]
