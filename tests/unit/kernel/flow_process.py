"""A conductor as a process of its own, for tests that freeze it:

    python -m tests.unit.kernel.flow_process DIRECTORY

Its flow's second step says that it was reached by a file `reached`, waits for a file `go`, and writes `slow was here`
into the database.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from pileus.kernel.flows import Flow, Run, Step

from .flow_world import Clock, Data, clocked, runner_of
from .toy import set_state

LEASE_S = 2.0


def slow_flow(directory: Path, *, waits: bool) -> Flow:
    """Two steps; the second one waits, or does not."""

    async def first(run: Run[Data]) -> None:
        run.data.seen.append("first")

    async def second(run: Run[Data]) -> None:
        while waits and not (directory / "go").exists():
            (directory / "reached").touch()
            await asyncio.sleep(0.02)
        run.with_journal(set_state, run.data.book_id, "slow was here")

    return Flow(
        name="slow_book", data=Data, steps=(Step(name="first", do=first), Step(name="second", do=second)),
        on_done=lambda tx, data: set_state(tx, data.book_id, "done" if not waits else "done late"),
        on_failed=lambda tx, data, fault: set_state(tx, data.book_id, "failed"),
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    place = Path(sys.argv[1])
    rt = clocked(place, Clock(), host="frozen-host")
    asyncio.run(runner_of(rt, slow_flow(place, waits=True), owner="frozen", lease_s=LEASE_S).run_forever())
