"""What it means that a flow bears a trouble."""

from __future__ import annotations

from pileus.kernel.flows import Flow
from tests.proofs import world
from tests.proofs.stage import Stage
from tests.proofs.troubles import Line
from tests.proofs.world import World


def prove_success(
    stage: Stage, flow: Flow, *, steps_twice: bool = False, kill: tuple[Line, str] | None = None,
    away: tuple[str, int] | None = None,
) -> bool:
    """In spite of the trouble the world becomes as it does without any, and can be cleared again. Whether `away` came
    to pass."""
    scenario, result = stage.scenario(flow.name), stage.result(flow.name)
    before = stage.settled_world()
    resource = scenario.ready()
    troubles = stage.troubles
    troubles.flow, troubles.steps_twice, troubles.kill, troubles.away = flow.name, steps_twice, kill, away
    resource = scenario.ask(resource)
    if kill is not None:
        stage.let_die_and_rise()
    stage.until(lambda: scenario.reached(resource), "success")
    stage.until_ended(resource)
    stage.until_world(result, seen=world.alike)
    happened = troubles.away is None
    troubles.end()
    scenario.clear(resource)
    stage.until_world(before)
    return happened


def prove_failure(
    stage: Stage, flow: Flow, *, fail: tuple[str, str], undos_twice: bool = False, kill: tuple[Line, str] | None = None
) -> None:
    """The failed flow is as if it had never been, but for the resource that tells of it; or, where that cannot be, the
    same request made again leads to where it leads without trouble."""
    scenario, result = stage.scenario(flow.name), stage.result(flow.name)
    before = stage.settled_world()
    resource = scenario.ready()
    ready = stage.settled_world()
    troubles = stage.troubles
    troubles.flow, troubles.fail, troubles.undos_twice, troubles.kill = flow.name, fail, undos_twice, kill
    resource = scenario.ask(resource)
    if kill is not None:
        stage.let_die_and_rise()
    stage.until_ended(resource)
    stage.until(lambda: scenario.failed(resource), "a final state that tells of the failure")
    did_nothing = fail == (flow.steps[0].name, "before")
    if scenario.reversible or did_nothing:
        expected = world.without(ready, scenario.own, resource)
        stage.until_world(expected, seen=lambda found: world.without(found, scenario.own, resource))
    troubles.end()
    if not scenario.reversible:
        if not scenario.reached(resource):
            scenario.ask(resource)
        stage.until(lambda: scenario.reached(resource), "success of the same request made again")
        stage.until_ended(resource)
        stage.until_world(_but(result, scenario.own), seen=lambda found: _but(world.alike(found), scenario.own))
    scenario.clear(resource)
    stage.until_world(before)


def _but(found: World, places: tuple[str, ...]) -> World:
    return {place: things for place, things in found.items() if place not in places}
