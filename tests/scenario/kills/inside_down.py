"""`pileus up` and `down` when the process hangs, and `down --purge`: the host is as before, but for what is ours."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.scenario.cloud.installation import Installation, run, wait_for
from tests.scenario.kills import world
from tests.scenario.kills.boundaries import Trap
from tests.scenario.kills.scene import Scene, has_ended

FOREIGN = (
    ("ip", "netns", "add", "qdhcp-6f0c0ad1-0000-4000-8000-000000000001"),
    ("ip", "link", "add", "brqforeign", "type", "bridge"),
    ("ip", "link", "add", "tapforeign", "type", "veth", "peer", "name", "tapother"),
    ("ip", "link", "set", "tapforeign", "alias", "pileus:another", "master", "brqforeign"),
    ("iptables", "-N", "pilforeign"),
    ("iptables", "-A", "FORWARD", "-j", "pilforeign"),
    ("nft", "add", "table", "bridge", "pilforeign"),
)


def host_facts() -> list[str]:
    """Devices, namespaces, rules and processes of this host. Tables and sysctls may be left on; they do nothing."""
    rules = [line for command in ("iptables-save", "ip6tables-save") for line in run(command).stdout.splitlines()
             if line.startswith("-A") or line.split()[1:2] == ["-"]]  # fmt: skip
    tables = [line for line in run("nft", "list", "tables").stdout.splitlines() if "pil" in line]
    links = [line.split(":")[1] for line in run("ip", "-o", "link").stdout.splitlines()]
    namespaces = run("ip", "netns").stdout.split("\n")
    processes = [line for line in run("ps", "-e", "-o", "comm=").stdout.split() if line not in ("ps", "sh")]
    return sorted([*rules, *tables, *links, *(n.split(" ")[0] for n in namespaces), *processes])


@pytest.fixture(scope="module")
def before() -> Iterator[list[str]]:
    for command in FOREIGN:
        run(*command)
    sleeper = subprocess.Popen(["sleep", "3600"])
    yield host_facts()
    sleeper.kill()


@pytest.fixture(scope="module")
def scene(before: list[str], tmp_path_factory: pytest.TempPathFactory) -> Scene:
    directory = tmp_path_factory.mktemp("cloud")
    scene = Scene(Installation(directory, name="down"), Trap(directory))
    scene.start()
    scene.furnish()
    return scene


@pytest.fixture(scope="module")
def floating(scene: Scene) -> str:
    """The address of a guest that runs."""
    port, address = scene.new_address()
    assert scene.final(scene.ask_server("kept", {"port": port}))["status"] == "ACTIVE"
    scene.answers(address)
    return address


def test_a_process_that_hangs_is_named_by_up_and_ended_by_down(scene: Scene, floating: str) -> None:
    pid = scene.pid
    os.kill(pid, signal.SIGSTOP)
    said = scene.cloud.pileus("up", check=False)
    assert said.returncode == 1
    assert f"process {pid} of this cloud runs but does not answer" in said.stderr
    assert "pileus down" in said.stderr
    down = scene.cloud.pileus("down")
    assert "was killed" in down.stdout
    assert has_ended(pid)
    scene.start()
    scene.answers(floating)


def test_purge_wants_to_be_meant(scene: Scene, floating: str) -> None:
    pid = scene.pid
    refused = scene.cloud.pileus("down", "--purge", check=False)
    assert refused.returncode == 2
    assert "--yes" in refused.stdout
    assert not has_ended(pid)
    scene.answers(floating)


def test_purge_leaves_the_host_as_it_was_and_up_brings_everything_back(
    scene: Scene, floating: str, before: list[str]
) -> None:
    done = scene.cloud.pileus("down", "--purge", "--yes", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert host_facts() == before
    again = scene.cloud.pileus("down", "--purge", "--yes")
    assert "removed" not in again.stdout
    scene.start()
    scene.answers(floating)


def test_purge_with_a_guest_that_libvirt_has_forgotten(scene: Scene, floating: str, before: list[str]) -> None:
    """Its definition and its daemon's memory are gone, the emulator runs on."""
    scene.cloud.pileus("down")
    daemon = int((scene.cloud.state / "compute" / "libvirt" / "libvirtd.pid").read_text())
    os.kill(daemon, signal.SIGKILL)
    wait_for("the end of libvirtd", lambda: has_ended(daemon))
    for path in (scene.cloud.state / "compute" / "libvirt" / "etc" / "qemu").glob("*.xml"):
        path.unlink()
    run("sh", "-c", "rm -rf /run/libvirt/qemu/*.xml")
    assert any(line.startswith("guest") for line in world.look(scene.cloud.state)["processes"])
    done = scene.cloud.pileus("down", "--purge", "--state", "--yes", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "emulator" in done.stdout
    assert host_facts() == before
    assert not scene.cloud.state.exists()
