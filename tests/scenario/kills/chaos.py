"""Servers made and deleted by the dozen while the cloud's process dies at random moments."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time

from tests.scenario.cloud.installation import wait_for
from tests.scenario.kills.scene import DEATH_LIMIT_S, Scene, has_ended

ENDED_LIMIT_S = 900.0
INTERRUPTED = (OSError, http.client.HTTPException)  # what a request meets when the process dies under it
UNLIMITED = ("instances", "cores", "ram")


def seed() -> int:
    """$PILEUS_TEST_SEED, else a new one; printed, so that a failure can be repeated."""
    chosen = int(os.environ.get("PILEUS_TEST_SEED", str(random.randrange(2**32))))
    print(f"\nseed {chosen}: repeat with PILEUS_TEST_SEED={chosen}", flush=True)
    return chosen


class Chaos:
    """`servers`: how many are wanted at once. `longest_s`: the longest time between a start and the next death.
    `pace_s`: the longest time that the client waits between its rounds; servers live for a few of them."""

    def __init__(
        self, scene: Scene, chance: random.Random, *, servers: int, longest_s: float, pace_s: float
    ) -> None:
        self._scene = scene
        self._chance = chance
        self._servers = servers
        self._longest_s = longest_s
        self._pace_s = pace_s
        self._number = 0
        self.accepted: set[str] = set()
        self.doomed: set[str] = set()  # asked to be deleted
        self.deleted: set[str] = set()  # and told that they are
        quota = dict.fromkeys(UNLIMITED, -1)
        scene.api.put(f"/compute/v2.1/os-quota-sets/{scene.api.project_id}", {"quota_set": quota})

    def cycle(self) -> None:
        """Ask for what is missing and for the end of some others; meanwhile the process dies, and is started again."""
        pid = self._scene.pid
        killer = threading.Timer(self._chance.uniform(0, self._longest_s), os.kill, (pid, signal.SIGKILL))
        killer.start()
        try:
            self._ask(pid)
        finally:
            killer.join()
        wait_for(f"the end of process {pid}", lambda: has_ended(pid), DEATH_LIMIT_S)
        self._scene.start()

    def _ask(self, pid: int) -> None:
        """Keep requests coming until the process is dead, or there is nothing to ask for."""
        try:
            while not has_ended(pid):
                known = self._listed()
                idle = sorted(known.keys() - self.deleted)
                for server in self._chance.sample(idle, len(idle) // 3):
                    self._delete(server)
                for _ in range(self._servers - len(known)):
                    self._number += 1
                    self.accepted.add(self._scene.ask_server(f"s{self._number}", {"uuid": self._scene.apart}))
                time.sleep(self._chance.uniform(0, self._pace_s))
        except INTERRUPTED:
            return  # accepted or not: the list will say

    def _delete(self, server: str) -> None:
        self.doomed.add(server)
        self._scene.ask_delete(server)
        self.deleted.add(server)

    def _listed(self) -> dict[str, dict[str, str]]:
        found = self._scene.api.get("/compute/v2.1/servers/detail", limit=1000)["servers"]
        return {server["id"]: server for server in found}

    def everything_ends(self) -> None:
        """Wait until nothing is under way; what was accepted is ACTIVE, in ERROR with its fault, or gone as asked."""
        last: dict[str, dict[str, str]] = {}

        def at_rest() -> bool:
            last.clear()
            last.update(self._listed())
            return not self.deleted & last.keys() and all(
                server["status"] in ("ACTIVE", "ERROR") and server["OS-EXT-STS:task_state"] is None
                for server in last.values()
            )

        wait_for("every accepted request ends", at_rest, ENDED_LIMIT_S)
        assert self.accepted - self.doomed <= last.keys(), "servers vanished that nobody deleted"
        for server in last.values():
            if server["status"] == "ERROR":
                fault = self._scene.server(server["id"])["fault"]["message"]
                raise AssertionError(f"{server['id']} ended in ERROR: {fault}")
        assert {server for server in last if self._scene.runs(server)} == set(last)

    def delete_all(self) -> None:
        """Ask for the end of all that are left, and see it."""
        for server in self._listed():
            self._delete(server)
        wait_for("all are gone", lambda: not self._listed(), ENDED_LIMIT_S)

    def run(self, kills: int) -> None:
        """So many deaths; then everything ends, and in the end nothing is left."""
        for number in range(kills):
            with self._scene.explained(f"death {number}"):
                self.cycle()
                print(f"death {number}: {len(self.accepted)} accepted, {len(self.deleted)} deleted", flush=True)
        with self._scene.explained("after all deaths"):
            self.everything_ends()
            self.delete_all()
            self._scene.nothing_is_left()


