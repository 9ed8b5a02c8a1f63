"""Python runs this file at the start of every process whose PYTHONPATH names this folder, before anything else.

A process of the cloud, started by its ordinary command, then ends at the journal line that a test chose: the file named
by $PILEUS_TEST_KILL says which (see `tests.scenario.kills.boundaries.Boundary`), and that file goes first, so that the
next process lives.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

SERVING = ("run", "serve")


def _plan() -> dict[str, Any] | None:
    try:
        with open(os.environ["PILEUS_TEST_KILL"], "rb") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def _kill(plan: dict[str, Any]) -> None:
    try:
        os.unlink(os.environ["PILEUS_TEST_KILL"])
    except FileNotFoundError:
        return  # another process was quicker: one death for one plan
    for pid in plan["pids"] or [os.getpid()]:
        os.kill(pid, signal.SIGKILL)


def _arm() -> None:
    from sqlalchemy import select

    from pileus.kernel.db import Tx
    from pileus.kernel.flows.store import FlowStore

    write = FlowStore.write_progress

    def write_or_die(store: FlowStore, tx: Tx, flow_id: str, *, at_step: str, event: str, **more: Any) -> None:
        plan = _plan()
        if plan is not None and (plan["step"], plan["event"]) == (at_step, event):
            name = tx.scalar(select(store.flows.c.name).where(store.flows.c.id == flow_id))
            plan = plan if plan["flow"] == name else None
        else:
            plan = None
        if plan is not None and plan["moment"] == "before":
            _kill(plan)
        write(store, tx, flow_id, at_step=at_step, event=event, **more)
        if plan is not None and plan["moment"] == "after":
            tx.after_commit(lambda: _kill(plan))

    FlowStore.write_progress = write_or_die


if "PILEUS_TEST_KILL" in os.environ and any(word in sys.orig_argv for word in SERVING):
    _arm()
