"""One cloud in which flows are tried, and what a proof does with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cloud import FAKE_DRIVERS, Cloud
from pileus.kernel.flows import Flow, FlowRunner
from tests.api.compute.actors import Shop
from tests.proofs import world
from tests.proofs.scenarios import SCENARIOS, Scenario
from tests.proofs.troubles import Troubles
from tests.proofs.world import World

LIMIT_S = 90.0
POLL_S = 0.02
TABLES: dict[str, Any] = FAKE_DRIVERS | {"compute": {"agent": {"hypervisor": "fake", "report_interval_s": 1.0}}}
"""Hosts report often: what only their reports can put right is waited for."""


class Stage:
    """A cloud whose flows obey `troubles`, with the scenarios that were needed so far.

    change: what is made of each flow beforehand. limit_s: how long anything is waited for.
    """

    def __init__(
        self, directory: Path, database: str = "sqlite", *, change: Callable[[Flow], Flow] = lambda flow: flow,
        limit_s: float = LIMIT_S,
    ) -> None:
        self.limit_s = limit_s
        self.troubles = Troubles()
        self.cloud = Cloud(directory, tables=TABLES, database=database)
        self.flows = {flow.name: flow for service in self.cloud.services for flow in service.flows}
        self.cloud.services = tuple(
            msgspec.structs.replace(service, flows=tuple(self.troubles.wrap(change(flow)) for flow in service.flows))
            for service in self.cloud.services
        )
        self._stores = [service.flow_store for service in self.cloud.services if service.flow_store is not None]
        self._scenarios: dict[str, Scenario] = {}
        self._results: dict[str, World] = {}
        self._unwatch: list[Callable[[], None]] = []

    def open(self) -> None:
        self.cloud.start()
        self._unwatch = [self.troubles.watch(store) for store in self._stores]
        self.shop = Shop(self.cloud)
        # Once, for what is made at first sight and stays, such as the default security groups of projects.
        first = self.scenario("create_server")
        server = first.ask("")
        self.until(lambda: first.reached(server), "the first server")
        first.clear(server)

    def close(self) -> None:
        for end in self._unwatch:
            end()
        self.cloud.stop()
        self.cloud.drop_schemas()

    # -- what proofs ask -------------------------------------------------------------------------------------

    def scenario(self, flow: str) -> Scenario:
        """How the flow is made to run; what it needs for that is there afterwards."""
        assert flow in SCENARIOS, f"{flow} has no scenario: add one to tests/proofs/scenarios.py"
        if flow not in self._scenarios:
            self._scenarios[flow] = SCENARIOS[flow](self.cloud, self.shop)
        return self._scenarios[flow]

    def result(self, flow: str) -> World:
        """What the world is like after the flow ran without any trouble."""
        if flow not in self._results:
            scenario = self.scenario(flow)
            before = self.settled_world()
            resource = scenario.ask(scenario.ready())
            self.until(lambda: scenario.reached(resource), "the flow's success")
            self.until_ended(resource)
            self._results[flow] = world.alike(self.settled_world())
            scenario.clear(resource)
            self.until_world(before)
        return self._results[flow]

    def let_die_and_rise(self) -> None:
        """Wait until the process has died at its line, and start a new runner where the old one was."""
        assert self.troubles.died.wait(self.limit_s), f"the line was never written: {self.troubles.kill}"
        self.cloud.run(self._restart_runners())

    def until_ended(self, resource_id: str) -> None:
        """All flows of the resource have ended."""

        def ended() -> bool:
            assert self.cloud.node is not None
            for runtime in self.cloud.node.runtimes.values():
                store = runtime.service.flow_store
                if store is not None and self.cloud.run(runtime.db.read(store.active, resource_id)):
                    return False
            return True

        self.until(ended, f"the end of all flows of {resource_id}")

    def until_world(self, wanted: World, *, seen: Callable[[World], World] = lambda found: found) -> None:
        """The world becomes as it is wanted; agents may need a moment for that."""
        deadline = time.monotonic() + self.limit_s
        while (left := world.difference(wanted, seen(world.look(self.cloud)))) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        assert not left, f"the world is not as it should be:\n{left}"

    def settled_world(self) -> World:
        """The world when it has come to rest."""
        deadline = time.monotonic() + self.limit_s
        before = world.look(self.cloud)
        while True:
            time.sleep(0.1)
            now = world.look(self.cloud)
            if now == before:
                return now
            assert time.monotonic() < deadline, f"no rest:\n{world.difference(before, now)}"
            before = now

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + self.limit_s
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(POLL_S)

    async def _restart_runners(self) -> None:
        node = self.cloud.node
        assert node is not None
        for task in list(node._tasks):
            frame = getattr(task.get_coro(), "cr_frame", None)
            runner = frame.f_locals.get("self") if frame is not None else None
            if isinstance(runner, FlowRunner):
                task.cancel()
                again = FlowRunner(runner.rt, owner=runner.owner, concurrency=runner.concurrency)
                node.spawn(again.run_forever(), name=task.get_name())


def flows_of(services: Any) -> list[Flow]:
    """The newest version of every flow of these services."""
    newest: dict[str, Flow] = {}
    for flow in sorted((flow for service in services for flow in service.flows), key=lambda flow: flow.version):
        newest[flow.name] = flow
    return list(newest.values())
