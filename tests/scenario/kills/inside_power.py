"""After a power cut one command brings everything back: guests, networks, and whatever was under way."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenario.cloud.installation import Installation, run, wait_for
from tests.scenario.kills.boundaries import Trap
from tests.scenario.kills.power import PoweredHost
from tests.scenario.kills.scene import ANSWER_LIMIT_S, FINAL_LIMIT_S, Scene

SEED = int(os.environ.get("PILEUS_TEST_SEED", str(random.randrange(2**32))))
CUTS = int(os.environ.get("PILEUS_TEST_CUTS", "2"))
LONGEST_WAIT_S = 3.0


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> PoweredHost:
    return PoweredHost(tmp_path_factory.mktemp("powered") / "disk")


@pytest.fixture(scope="module")
def scene(host: PoweredHost) -> Scene:
    trap = Trap(host.directory)
    scene = Scene(Installation(host.directory, name="power", environment=trap.environment), trap)
    os.sync()  # an operator's configuration is older than the day of the power cut
    scene.start()
    scene.furnish()
    return scene


@pytest.fixture(scope="module")
def key(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key that servers take, as `mine`."""
    file = tmp_path_factory.mktemp("key") / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file))
    keypair = {"name": "mine", "public_key": file.with_suffix(".pub").read_text().strip()}
    scene.api.post("/compute/v2.1/os-keypairs", {"keypair": keypair})
    return file


def until_ssh(scene: Scene, address: str, key: Path, command: str) -> str:
    """What the command says in the guest, once the guest lets us in."""
    return wait_for(
        f"ssh to {address}", lambda: scene.cloud.ssh(address, command, key=key, check=False), ANSWER_LIMIT_S
    )


def test_what_ran_runs_again_and_what_was_stopped_stays_stopped(host: PoweredHost, scene: Scene, key: Path) -> None:
    (port, floating), (idle_port, idle_floating) = scene.new_address(), scene.new_address()
    scene.settle()
    with scene.explained("power cut"):
        running = scene.ask_server("running", {"port": port}, key_name="mine")
        stopped = scene.ask_server("stopped", {"port": idle_port})
        assert [scene.final(server)["status"] for server in (running, stopped)] == ["ACTIVE", "ACTIVE"]
        first_boot = until_ssh(scene, floating, key, "cat /proc/sys/kernel/random/boot_id; echo kept > /root/f; sync")
        scene.act(stopped, {"os-stop": None})
        assert scene.final(stopped)["status"] == "SHUTOFF"

        host.cut()
        scene.start()

        scene.answers(floating)
        boot = until_ssh(scene, floating, key, "cat /proc/sys/kernel/random/boot_id")
        assert boot != first_boot
        assert scene.cloud.ssh(floating, "cat /root/f", key=key) == "kept"
        assert running in _metadata_seen(scene, floating, key)
        assert [scene.final(server)["status"] for server in (running, stopped)] == ["ACTIVE", "SHUTOFF"]
        assert scene.cloud.process_of(stopped) is None
        scene.act(stopped, {"os-start": None})
        assert scene.final(stopped)["status"] == "ACTIVE"
        scene.answers(idle_floating)
        for server in (running, stopped):
            scene.ask_delete(server)
            assert scene.final(server)["status"] == "GONE"
        scene.nothing_is_left()


def _metadata_seen(scene: Scene, floating: str, key: Path) -> str:
    """What the guest is told at the metadata address."""
    ask = "printf 'GET /openstack/latest/meta_data.json HTTP/1.0\\r\\n\\r\\n' | nc 169.254.169.254 80"
    return until_ssh(scene, floating, key, ask)


def test_requests_under_way_at_the_cut_end(host: PoweredHost, scene: Scene) -> None:
    print(f"\nseed {SEED}: repeat with PILEUS_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    scene.settle()
    for number in range(CUTS):
        with scene.explained(f"cut {number}, seed {SEED}"):
            cut_in_the_middle(host, scene, chance)
    with scene.explained("verify"):
        scene.verify()


def cut_in_the_middle(host: PoweredHost, scene: Scene, chance: random.Random) -> None:
    """Two servers being made, one being deleted, and the power goes."""
    nic = {"uuid": scene.apart}
    going = scene.ask_server("going", nic)
    assert scene.final(going)["status"] == "ACTIVE"
    asks: list[Callable[[], object]] = [
        lambda: scene.ask_server("coming", nic),
        lambda: scene.ask_server("coming", nic),
        lambda: scene.ask_delete(going),
    ]
    chance.shuffle(asks)
    made = [answer for answer in (ask() for ask in asks) if isinstance(answer, str)]
    time.sleep(chance.uniform(0, LONGEST_WAIT_S))
    host.cut()
    scene.start()
    assert scene.final(going)["status"] == "GONE"
    for server in made:
        status = scene.final(server)["status"]
        assert status in ("ACTIVE", "ERROR")
        runs = wait_for("a guest if and only if ACTIVE",
                        lambda s=server, want=status == "ACTIVE": (scene.cloud.process_of(s) is not None) == want,
                        FINAL_LIMIT_S)  # fmt: skip
        assert runs
        scene.ask_delete(server)
        assert scene.final(server)["status"] == "GONE"
    scene.nothing_is_left()
