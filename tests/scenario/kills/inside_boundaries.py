"""The cloud's process dies at every line of the journals of create and delete: everything still ends well.

Real guests. Each create is interrupted twice on its way to being gone again: once while it is built, once while it is
deleted. What is interrupted never leaves a trace: the world is compared with what it was before.
"""

from __future__ import annotations

import pytest

from pileus.services.compute.flows import create_server, delete_server
from tests.scenario.cloud.installation import Installation, run
from tests.scenario.kills.boundaries import Boundary, Trap, backward, forward
from tests.scenario.kills.scene import Scene

CREATES = tuple(forward(create_server.FLOW))
DELETES = tuple(forward(delete_server.FLOW))
PAIRS = [(create, DELETES[number % len(DELETES)]) for number, create in enumerate(CREATES)]
FAILURES = tuple(backward(create_server.FLOW, failing="prepare"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    directory = tmp_path_factory.mktemp("cloud")
    trap = Trap(directory)
    scene = Scene(Installation(directory, name="kills", environment=trap.environment), trap)
    scene.start()
    scene.furnish()
    return scene


@pytest.fixture(scope="module")
def address(scene: Scene) -> tuple[str, str]:
    made = scene.new_address()
    scene.settle()
    return made


@pytest.fixture(scope="module")
def damaged(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image whose file was changed behind the store's back: only the host that downloads it finds out."""
    file = tmp_path_factory.mktemp("image") / "small.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", str(file), "8M")
    store = scene.cloud.state / "image" / "images"
    before = set(store.iterdir())
    image = scene.upload(file, "damaged")
    (stored,) = set(store.iterdir()) - before
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    return image


def test_all_boundaries_of_a_delete_are_among_the_pairs() -> None:
    assert {delete for _, delete in PAIRS} == set(DELETES)


@pytest.mark.parametrize(("create", "delete"), PAIRS, ids=str)
def test_a_server_is_made_and_deleted_across_two_deaths(
    scene: Scene, address: tuple[str, str], create: Boundary, delete: Boundary
) -> None:
    port, floating = address
    with scene.explained(f"{create}, {delete}"):
        nics = ({"port": port}, {"uuid": scene.apart})
        server = scene.die_at(create, lambda: scene.ask_server("victim", *nics))
        scene.start()
        assert scene.final(server)["status"] == "ACTIVE"
        scene.answers(floating)
        scene.die_at(delete, lambda: scene.ask_delete(server))
        scene.start()
        assert scene.final(server)["status"] == "GONE"
        scene.nothing_is_left()


@pytest.mark.parametrize("boundary", FAILURES, ids=str)
def test_a_server_that_cannot_be_made_ends_with_its_fault_and_leaves_its_row_only(
    scene: Scene, address: tuple[str, str], damaged: str, boundary: Boundary
) -> None:
    port, _ = address
    with scene.explained(str(boundary)):
        nics = ({"port": port}, {"uuid": scene.apart})
        server = scene.die_at(boundary, lambda: scene.ask_server("victim", *nics, image=damaged))
        scene.start()
        found = scene.final(server)
        assert found["status"] == "ERROR"
        assert "checksum" in found["fault"]["message"]
        scene.nothing_is_left(besides=f"servers ('{server}'")
        scene.ask_delete(server)
        assert scene.final(server)["status"] == "GONE"
        scene.nothing_is_left()


def test_verify_finds_nothing_after_all_that(scene: Scene, address: tuple[str, str]) -> None:
    with scene.explained("verify"):
        scene.verify()
