"""Deletes that meet something else, and hosts and siblings that do not answer: everything ends, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pileus.kernel.errors import RemoteError
from pileus.services.compute.db import FLOWS
from pileus.services.compute.flows import create_server, reboot_server, start_server, stop_server
from pileus.services.compute.rpc import agent_topic
from tests.proofs import world
from tests.proofs.stage import Stage
from tests.proofs.troubles import Moment
from tests.proofs.world import World

HOST = "test-host"
POWER_FLOWS = (start_server.FLOW, stop_server.FLOW, reboot_server.FLOW)
MOMENTS: tuple[Moment, ...] = ("before", "after")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("cloud"))
    stage.open()
    yield stage
    stage.close()


@pytest.fixture
def before(stage: Stage) -> Iterator[World]:
    """The world at the start; it must be so again at the end."""
    found = stage.settled_world()
    yield found
    stage.troubles.end()
    stage.until_world(found)


def delete(stage: Stage, server: str) -> None:
    answer = stage.shop.user.ask("DELETE", f"/servers/{server}")
    assert answer.status_code == 204, answer.text


def gone(stage: Stage, server: str) -> Callable[[], bool]:
    return lambda: stage.shop.admin.ask("GET", f"/servers/{server}").status_code == 404


def flows_of(stage: Stage, server: str) -> list[Any]:
    assert stage.cloud.node is not None
    return stage.cloud.run(stage.cloud.node.runtimes["compute"].db.read(FLOWS.of_resource, server))


def run_clean_up_now(stage: Stage, server: str) -> None:
    """Do not wait for the long pauses between attempts of a clean-up."""
    assert stage.cloud.node is not None
    stage.cloud.run(stage.cloud.node.runtimes["compute"].db.write(FLOWS.cancel, server))


class SilentAgent:
    """Nobody listens for the host meanwhile. `down`: and the cloud knows."""

    def __init__(self, stage: Stage, *, down: bool) -> None:
        self._stage, self._down = stage, down

    def __enter__(self) -> None:
        self._listeners = self._all().pop(agent_topic(HOST))
        self._mark(self._down)

    def __exit__(self, *_exc: object) -> None:
        self._all()[agent_topic(HOST)] = self._listeners
        self._mark(False)

    def _all(self) -> dict[str, Any]:
        assert self._stage.cloud.node is not None
        return self._stage.cloud.node.bus._listeners  # type: ignore[attr-defined]

    def _mark(self, down: bool) -> None:
        admin = self._stage.shop.admin
        [service] = admin.get("/os-services?binary=nova-compute")["services"]
        assert admin.ask("PUT", f"/os-services/{service['id']}", {"forced_down": down}).status_code == 200


class DeadNetworkApi:
    """The network service answers compute nothing but 503 meanwhile."""

    def __init__(self, stage: Stage) -> None:
        assert stage.cloud.node is not None
        self._session: Any = stage.cloud.node.runtimes["compute"].session
        self._route = self._session._route

    def __enter__(self) -> None:
        alive = self._route
        self._session._route = lambda service: (self, "/network") if service == "network" else alive(service)

    def __exit__(self, *_exc: object) -> None:
        self._session._route = self._route

    async def send(self, *_request: object) -> None:
        raise RemoteError(503, "ServiceUnavailable", "network did not answer.")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", [step.name for step in create_server.FLOW.steps])
def test_a_delete_while_a_create_is_at_any_step(stage: Stage, before: World, step: str, moment: Moment) -> None:
    stage.troubles.flow, stage.troubles.block = "create_server", (step, moment)
    server = stage.scenario("create_server").ask("")
    assert stage.troubles.blocked.wait(60)
    delete(stage, server)
    stage.until(gone(stage, server), "the delete")
    assert [(flow.name, flow.state) for flow in flows_of(stage, server)] == [
        ("create_server", "failed"), ("delete_server", "done"),
    ]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("flow", POWER_FLOWS, ids=lambda flow: flow.name)
def test_a_delete_during_another_action(stage: Stage, before: World, flow: Any, moment: Moment) -> None:
    scenario = stage.scenario(flow.name)
    server = scenario.ready()
    stage.troubles.flow, stage.troubles.block = flow.name, (flow.steps[0].name, moment)
    scenario.ask(server)
    assert stage.troubles.blocked.wait(60)
    delete(stage, server)
    stage.until(gone(stage, server), "the delete")


def test_deleting_twice_is_deleting_once(stage: Stage, before: World) -> None:
    server = stage.scenario("delete_server").ready()
    stage.troubles.flow, stage.troubles.block = "delete_server", ("release_ports", "before")
    delete(stage, server)
    assert stage.troubles.blocked.wait(60)
    delete(stage, server)
    stage.troubles.block = None
    stage.cloud.run(stage._restart_runners())
    stage.until(gone(stage, server), "the delete")
    assert [flow.name for flow in flows_of(stage, server)] == ["create_server", "delete_server"]


def test_a_server_of_a_host_that_is_down_is_deleted_and_the_host_cleans_up_later(stage: Stage, before: World) -> None:
    server = stage.scenario("delete_server").ready()
    with SilentAgent(stage, down=True):
        delete(stage, server)
        stage.until(gone(stage, server), "the delete")
        assert world.look(stage.cloud)["guests"] == [f"{server} running"]
    # That the guest goes when its host reports again is what the fixture waits for.


def test_a_host_that_should_answer_and_does_not_ends_the_delete_in_an_error_that_can_be_repeated(
    stage: Stage, before: World
) -> None:
    server = stage.scenario("delete_server").ready()
    with SilentAgent(stage, down=False):
        delete(stage, server)
        found = stage.shop.admin.until_status(server, "ERROR", timeout_s=90)
        assert "does not answer" in found["fault"]["message"]
    delete(stage, server)
    stage.until(gone(stage, server), "the second delete")


def test_a_clean_up_that_cannot_succeed_holds_up_neither_the_user_nor_a_delete(stage: Stage, before: World) -> None:
    stage.troubles.flow, stage.troubles.fail = "create_server", ("start", "after")
    stage.troubles.fail_undo = "allocate_ports"
    server = stage.scenario("create_server").ask("")
    found = stage.shop.admin.until_status(server, "ERROR", timeout_s=90)
    assert "told to fail" in found["fault"]["message"]
    [create] = flows_of(stage, server)
    assert (create.state, create.settled) == ("undoing", True)
    refused = stage.shop.user.act(server, "reboot", {"type": "HARD"})
    assert refused.status_code == 409
    assert "being cleaned up" in refused.json()["conflictingRequest"]["message"]
    delete(stage, server)
    stage.until(gone(stage, server), "the delete")
    assert flows_of(stage, server)[0].state == "undoing"
    stage.until_world(before)
    stage.troubles.end()
    run_clean_up_now(stage, server)
    stage.until_ended(server)


def test_a_delete_that_fails_after_a_create_that_failed_can_be_repeated(stage: Stage, before: World) -> None:
    stage.troubles.flow, stage.troubles.block = "create_server", ("wire", "after")
    stage.troubles.fail_undo = "allocate_ports"
    server = stage.scenario("create_server").ask("")
    assert stage.troubles.blocked.wait(60)
    delete(stage, server)
    stage.until(lambda: flows_of(stage, server)[0].settled, "the end of patience")
    stage.until(gone(stage, server), "the delete")
    stage.troubles.end()
    run_clean_up_now(stage, server)
    stage.until_ended(server)


def test_a_dead_network_service_leaves_nobody_waiting_and_nothing_behind(stage: Stage, before: World) -> None:
    stage.troubles.flow, stage.troubles.block = "create_server", ("start", "after")
    server = stage.scenario("create_server").ask("")
    assert stage.troubles.blocked.wait(60)
    with DeadNetworkApi(stage):
        stage.troubles.block, stage.troubles.fail = None, ("start", "before")
        stage.cloud.run(stage._restart_runners())
        stage.shop.admin.until_status(server, "ERROR", timeout_s=90)
        [create] = flows_of(stage, server)
        assert create.settled
        delete(stage, server)
        stage.until(lambda: flows_of(stage, server)[1].state == "failed", "the end of the delete")
        found = stage.shop.admin.until_status(server, "ERROR", timeout_s=90)
        assert "network did not answer" in found["fault"]["message"]
        assert flows_of(stage, server)[0].state == "undoing"
    stage.troubles.end()
    delete(stage, server)
    stage.until(gone(stage, server), "the second delete")
    run_clean_up_now(stage, server)
    stage.until_ended(server)


def test_a_port_of_the_user_survives_a_delete_that_overtakes_the_clean_up(stage: Stage, before: World) -> None:
    stage.troubles.flow, stage.troubles.fail = "create_server", ("allocate_ports", "after")
    stage.troubles.fail_undo = "allocate_ports"
    server = stage.scenario("create_server").ask("")
    stage.shop.admin.until_status(server, "ERROR", timeout_s=90)
    delete(stage, server)
    stage.until(gone(stage, server), "the delete")
    stage.until_world(before)  # the given port among it
    stage.troubles.end()
    run_clean_up_now(stage, server)
    stage.until_ended(server)
