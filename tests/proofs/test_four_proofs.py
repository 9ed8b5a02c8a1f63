"""The four proofs that every flow passes: each step run twice; failure at each step unwinds; each undo run twice; the
process killed at each line of the journal resumes and ends. On SQLite and on MariaDB."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pileus.kernel.flows import Flow
from pileus.services import discover
from tests.proofs.proving import prove_failure, prove_success
from tests.proofs.scenarios import SCENARIOS
from tests.proofs.stage import Stage, flows_of
from tests.proofs.troubles import Line, Moment

FLOWS = flows_of(discover())
MOMENTS: tuple[Moment, ...] = ("before", "after")
STEPS = [(flow, step.name, moment) for flow in FLOWS for step in flow.steps for moment in MOMENTS]


def forward(flow: Flow) -> list[Line]:
    """The lines of a flow that succeeds. The last step's and the end are one transaction."""
    return [Line(step.name, "done") for step in flow.steps]


def backward(flow: Flow) -> list[Line]:
    """The lines of a flow whose last step fails."""
    undone = [Line(step.name, "undone") for step in reversed(flow.steps) if step.undo is not None]
    return [Line(flow.steps[-1].name, "failed"), *undone, Line("end", "undone")]


def named(value: object) -> str | None:
    return value.name if isinstance(value, Flow) else str(value) if isinstance(value, Line) else None


DEATHS = [(flow, line, moment) for flow in FLOWS for line in forward(flow) for moment in MOMENTS]
DEATHS_IN_UNDO = [(flow, line, moment) for flow in FLOWS for line in backward(flow) for moment in MOMENTS]


class Shelf:
    """The stage of an engine, made anew after a proof that failed: it may have left anything."""

    def __init__(self, factory: pytest.TempPathFactory, database: str) -> None:
        self._factory, self._database = factory, database
        self._stage: Stage | None = None
        self.clean = False

    def stage(self) -> Stage:
        if self._stage is None or not self.clean:
            self.close()
            self._stage = Stage(self._factory.mktemp(self._database), self._database)
            self._stage.open()
        self.clean = False
        return self._stage

    def close(self) -> None:
        if self._stage is not None:
            self._stage.close()
            self._stage = None


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path_factory, request.param)
    yield shelf
    shelf.close()


@pytest.fixture
def stage(shelf: Shelf, request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage = shelf.stage()
    failed_before = request.session.testsfailed
    yield stage
    stage.troubles.end()
    shelf.clean = request.session.testsfailed == failed_before


def test_every_flow_has_a_scenario() -> None:
    assert {flow.name for flow in FLOWS} == set(SCENARIOS), "tests/proofs/scenarios.py"


@pytest.mark.parametrize("flow", FLOWS, ids=named)
def test_each_step_run_twice_does_what_it_does_once(stage: Stage, flow: Flow) -> None:
    prove_success(stage, flow, steps_twice=True)


@pytest.mark.parametrize(("flow", "step", "moment"), STEPS, ids=named)
def test_failure_at_each_step_leads_back_to_the_start(stage: Stage, flow: Flow, step: str, moment: Moment) -> None:
    prove_failure(stage, flow, fail=(step, moment))


@pytest.mark.parametrize("flow", [f for f in FLOWS if any(step.undo for step in f.steps)], ids=named)
def test_each_undo_run_twice_does_what_it_does_once(stage: Stage, flow: Flow) -> None:
    prove_failure(stage, flow, fail=(flow.steps[-1].name, "after"), undos_twice=True)


@pytest.mark.parametrize(("flow", "line", "moment"), DEATHS, ids=named)
def test_a_death_at_each_line_of_the_journal_is_survived(
    stage: Stage, flow: Flow, line: Line, moment: Moment
) -> None:
    prove_success(stage, flow, kill=(line, moment))


@pytest.mark.parametrize(("flow", "line", "moment"), DEATHS_IN_UNDO, ids=named)
def test_a_death_at_each_line_of_the_undoing_is_survived(
    stage: Stage, flow: Flow, line: Line, moment: Moment
) -> None:
    prove_failure(stage, flow, fail=(flow.steps[-1].name, "after"), kill=(line, moment))
