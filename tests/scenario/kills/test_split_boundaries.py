"""Each role alone dies at the lines of the journals of create and delete, in a cloud of one process per role.

The process that writes the journal kills the other one before it goes on; or itself. The quick run meets every line and
every role; the long one every role at every line.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import msgspec
import pytest

from engines.mariadb import MariaDB
from engines.rabbitmq import RabbitMQ
from pileus.services.compute.flows import create_server, delete_server
from tests.api.compute.actors import Shop
from tests.scenario.kills.boundaries import Boundary, Trap, forward
from tests.scenario.split.split_cloud import ROLES, SplitCloud
from tests.scenario.split.test_role_kills import World

DEATH_LIMIT_S = 240.0
POLL_S = 0.05

CREATES = tuple(forward(create_server.FLOW))
DELETES = tuple(forward(delete_server.FLOW))
QUICK = set(zip(itertools.cycle(ROLES), (*CREATES, *DELETES)))
MATRIX = [
    pytest.param(role, boundary, id=f"{role} {boundary}", marks=() if (role, boundary) in QUICK else pytest.mark.long)
    for role in ROLES
    for boundary in (*CREATES, *DELETES)
]


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Trap:
    return Trap(tmp_path_factory.mktemp("trap"))


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, trap: Trap, rabbitmq: RabbitMQ, mariadb: MariaDB
) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("split")
    with SplitCloud(directory, broker=rabbitmq, database=mariadb, environment=trap.environment) as split:
        yield World(split, Shop(split))


def test_the_quick_run_meets_every_role_and_every_line() -> None:
    assert {role for role, _ in QUICK} == set(ROLES)
    assert {boundary for _, boundary in QUICK} == {*CREATES, *DELETES}


@pytest.mark.parametrize(("role", "boundary"), MATRIX)
def test_a_role_dies_at_a_line(world: World, trap: Trap, role: str, boundary: Boundary) -> None:
    armed = msgspec.structs.replace(boundary, pids=(world.split.pid(role),))
    if boundary in CREATES:
        trap.arm(armed)
        server = world.boot("victim")
        back_again(world, trap, role)
        assert world.final(server) == "ACTIVE", world.story(server, {})
        world.gone(server)
    else:
        server = world.boot("victim")
        assert world.final(server) == "ACTIVE"
        trap.arm(armed)
        assert world.patient("DELETE", f"/servers/{server}").status_code == 204
        back_again(world, trap, role)
        world.gone(server)
    world.nothing_is_left()


def back_again(world: World, trap: Trap, role: str) -> None:
    """Wait until the role's process has died, and start it again."""
    deadline = time.monotonic() + DEATH_LIMIT_S
    while not trap.sprung:
        assert time.monotonic() < deadline, world.split.log("compute-conductor")
        time.sleep(POLL_S)
    world.split.kill(role)
    world.split.start_role(role)
