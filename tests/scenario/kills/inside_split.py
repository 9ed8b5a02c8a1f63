"""Each role alone dies while a real guest is made and deleted, in a cloud of one process per role."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from pileus.cli.api import Api
from pileus.services.compute.flows import create_server, delete_server
from tests.scenario.cloud.installation import Installation, wait_for
from tests.scenario.kills import world
from tests.scenario.kills.boundaries import Boundary, Trap, forward
from tests.scenario.kills.chaos import seed
from tests.scenario.kills.scene import DEATH_LIMIT_S, Scene
from tests.scenario.split.split_cloud import ROLES, SplitCloud

BOUNDARIES = int(os.environ.get("PILEUS_TEST_BOUNDARIES", "2"))  # of each flow, for each role
REAL_DRIVERS: dict[str, Any] = {"compute": {}, "network": {}}


class SplitApi(Api):
    """Every service has a port of its own."""

    def __init__(self, split: SplitCloud) -> None:
        super().__init__(split.url)
        self._split = split

    def _send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        self.url = f"http://127.0.0.1:{self._split.ports[path.split('/')[1] + '-api']}"
        return super()._send(method, path, body, headers)


class SplitInstallation(Installation):
    """The files of a split cloud."""

    def __init__(self, split: SplitCloud) -> None:
        self.state, self.config, self._environment = split.state_dir, split.config, None


class SplitScene(Scene):
    """See `Scene`; roles die one by one."""

    def __init__(self, split: SplitCloud, trap: Trap) -> None:
        super().__init__(SplitInstallation(split), trap)
        self.split = split
        self.api = SplitApi(split)
        self.api.log_in("admin", split.admin_password, "admin")

    def look(self) -> world.World:
        return world.look(
            self.cloud.state, lambda service, table, columns, where: self.split.rows(service, table, where, columns)
        )

    def _log(self) -> str:
        return self.split.log("compute-conductor") + self.split.log("compute-agent")

    def role_dies_at(self, role: str, boundary: Boundary) -> None:
        """Wait until it has happened, and start the role again."""
        wait_for(f"death {boundary} of {role}", lambda: self.trap.sprung, DEATH_LIMIT_S)
        self.split.kill(role)
        self.split.start_role(role)

    def aim(self, role: str, boundary: Boundary) -> None:
        """The role will die there."""
        self.trap.arm(msgspec.structs.replace(boundary, pids=(self.split.pid(role),)))


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB
) -> Iterator[SplitScene]:
    directory = tmp_path_factory.mktemp("split")
    trap = Trap(directory)
    with SplitCloud(
        directory, broker=rabbitmq, database=mariadb, environment=trap.environment, tables=REAL_DRIVERS
    ) as split:
        scene = SplitScene(split, trap)
        scene.furnish()
        yield scene


@pytest.fixture(scope="module")
def address(scene: SplitScene) -> tuple[str, str]:
    made = scene.new_address()
    scene.settle()
    return made


@pytest.fixture(scope="module")
def chance() -> random.Random:
    return random.Random(seed())


@pytest.mark.parametrize("role", ROLES)
def test_a_role_dies_at_lines_of_create_and_delete(
    scene: SplitScene, address: tuple[str, str], chance: random.Random, role: str
) -> None:
    port, floating = address
    creates = chance.sample(tuple(forward(create_server.FLOW)), BOUNDARIES)
    deletes = chance.sample(tuple(forward(delete_server.FLOW)), BOUNDARIES)
    for create, delete in zip(creates, deletes, strict=True):
        with scene.explained(f"{role}: {create}, {delete}"):
            scene.aim(role, create)
            server = scene.ask_server("victim", {"port": port}, {"uuid": scene.apart})
            scene.role_dies_at(role, create)
            assert scene.final(server)["status"] == "ACTIVE"
            scene.answers(floating)
            scene.aim(role, delete)
            scene.ask_delete(server)
            scene.role_dies_at(role, delete)
            assert scene.final(server)["status"] == "GONE"
            scene.nothing_is_left()
