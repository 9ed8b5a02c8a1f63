"""A database that does not answer for a while delays flows and fails none: at each transaction of each step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from pileus.kernel.flows import Flow
from pileus.services import discover
from tests.proofs.proving import prove_success
from tests.proofs.stage import Stage, flows_of

STEPS = [(flow, step.name) for flow in flows_of(discover()) for step in flow.steps]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("cloud"))
    stage.open()
    yield stage
    stage.close()


@pytest.mark.parametrize(("flow", "step"), STEPS, ids=lambda value: value.name if isinstance(value, Flow) else value)
def test_a_database_that_is_away_at_any_transaction_of_a_step(
    stage: Stage, flow: Flow, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pileus.kernel.flows.runner.AFTER_OUTAGE_S", 0.05)
    for transaction in itertools.count():
        if not prove_success(stage, flow, away=(step, transaction)):
            break
