"""The proofs notice a flow that leaks: they are run on flows that were spoilt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.kernel.flows import Flow, Run
from pileus.services.compute.flows import create_server, plugging
from tests.proofs.proving import prove_failure, prove_success
from tests.proofs.stage import Stage

LIMIT_S = 12.0


async def ports_made_unseen(run: Run[Any]) -> None:
    """What the step `allocate_ports` does, without looking for ports that are there already."""
    server = await create_server._server(run)
    data = run.data
    vifs = await plugging.plug(run.rt, server, data.nics, data.group_ids, data.group_names, first=True)
    run.with_journal(create_server.servers.change, server.id, network_info=vifs)


def spoiling(step: str, **values: Any) -> Callable[[Flow], Flow]:
    """Change one step of `create_server`."""

    def change(flow: Flow) -> Flow:
        if flow.name != create_server.FLOW.name:
            return flow
        steps = (msgspec.structs.replace(s, **values) if s.name == step else s for s in flow.steps)
        return msgspec.structs.replace(flow, steps=tuple(steps))

    return change


def test_a_step_without_its_undo_is_noticed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, change=spoiling("allocate_ports", undo=None), limit_s=LIMIT_S)
    stage.open()
    try:
        with pytest.raises(AssertionError, match=r"(?s)the world is not as it should be.*\+ network\.ports"):
            prove_failure(stage, create_server.FLOW, fail=("start", "after"))
    finally:
        stage.close()


def test_a_step_that_cannot_be_repeated_is_noticed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, change=spoiling("allocate_ports", do=ports_made_unseen), limit_s=LIMIT_S)
    stage.open()
    try:
        with pytest.raises(AssertionError, match=r"(?s)the world is not as it should be.*\+ network\.ports"):
            prove_success(stage, create_server.FLOW, steps_twice=True)
    finally:
        stage.close()
