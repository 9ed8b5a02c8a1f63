"""Hosts made of namespaces: what is in them stays in them, and ends with them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.lab import faults, hosts, kernel_view
from pileus.lab import layout as layouts
from pileus.lab.host_place import HostPlace
from pileus.lab.hosts import Furniture, Host
from pileus.lab.lab import Lab
from pileus.lab.switch import Card, Switch
from tests.lab.rehearsal import until

pytestmark = pytest.mark.net


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    directory = tmp_path / "hosts-test"
    directory.mkdir()
    yield Lab(directory, layouts.find("three-nodes")[0])
    hosts.end_all(directory)


@pytest.fixture
def host(lab: Lab) -> Host:
    return started(lab, "compute1")


def started(lab: Lab, name: str) -> Host:
    lab.make_disk(name)
    host = lab.host(name)
    host.start(lab.furniture(name))
    return host


def test_a_host_has_its_own_name_files_devices_and_processes(lab: Lab, host: Host) -> None:
    place = lab.place("compute1", "log")
    (lab.state_dir("compute1") / "kept").write_text("here")
    script = "hostname; cat /var/lib/pileus/kept; ls /run/*/ /tmp /sys/class/net; touch /etc/new /var/new; echo $$"
    said = place.run(("sh", "-c", script), timeout_s=20)
    assert said.startswith("compute1\nhere")
    assert "lo" in said
    assert "eth0" not in said
    assert int(said.split()[-1]) < 100, "it sees the machine's process ids"
    assert not Path("/etc/new").exists()
    assert not Path("/var/new").exists()
    assert socket.gethostname() != "compute1"


def test_everything_ends_with_a_host(lab: Lab, host: Host) -> None:
    place = lab.place("compute1", "log")
    process = place.start(("sleep", "1000"), log=place.directory / "sleep")
    detached = "(setsid sh -c 'trap \"\" TERM HUP; sleep 1000' >/dev/null 2>&1 &) ; ip netns add inner"
    place.run(("sh", "-c", detached), timeout_s=20)
    everything = {kernel_view.see(pid) for pid in (*host.processes(), host.the_pid())}
    assert len(everything) >= 4
    host.end()
    assert [seen for seen in everything if seen and seen.alive()] == []
    assert not process.alive()
    assert host.pid is None
    assert hosts.running(lab.directory) == set()
    with pytest.raises(RuntimeError, match="host compute1 is off"):
        place.run(("true",), timeout_s=5)


def test_a_command_that_takes_too_long_ends_with_its_children(lab: Lab, host: Host) -> None:
    place = lab.place("compute1", "log")
    with pytest.raises(RuntimeError, match=r"sh on compute1 did not end within 0\.5 s"):
        place.run(("sh", "-c", "sleep 1000 & sleep 1000"), timeout_s=0.5)
    until(lambda: not host.processes(), "the end of its children", 10)


def test_an_error_shows_what_was_said(lab: Lab, host: Host) -> None:
    place = lab.place("compute1", "log")
    with pytest.raises(RuntimeError, match="sh on compute1 ended with 3: out"):
        place.run(("sh", "-c", "echo out; exit 3"), timeout_s=20)
    assert place.run(("cat",), timeout_s=20, input="given") == "given"
    assert place.run(("id", "-un"), timeout_s=20, user="nobody").strip() == "nobody"


def test_processes_are_found_by_another_shell(lab: Lab, host: Host) -> None:
    place = lab.place("compute1", "engine")
    log = place.directory / "log"
    process = place.start(("sh", "-c", "echo $MINE; exec sleep 1000"), log=log, env={"MINE": "mine"})
    until(lambda: log.read_text() == "mine\n", "its word", 10)
    again = HostPlace(host, place.address, place.directory).started()
    assert {program: found.pid for program, found in again.items()} == {"sh": process.pid}
    process.stop(10)
    assert place.started() == {}
    assert faults.freeze(lab, "compute1") == 0


def test_a_frozen_host_goes_on_when_it_is_thawed(lab: Lab, host: Host) -> None:
    place = lab.place("compute1", "engine")
    process = place.start(("sleep", "1000"), log=place.directory / "log")
    assert faults.freeze(lab, "compute1") == 1
    until(lambda: faults.is_frozen(process.pid), "that it stands still", 10)
    assert faults.thaw(lab, "compute1") == 1
    until(lambda: not faults.is_frozen(process.pid), "that it goes on", 10)


def test_a_cut_cable_and_a_healed_one(lab: Lab, host: Host) -> None:
    switch = Switch(Host(lab.directory, "switch"))
    switch.start()
    other = started(lab, "compute2")
    for each in (host, other):
        for card in lab.cards(each.name):
            switch.plug(each, card)
    place = lab.place("compute1", "log")
    ping = ("ping", "-c", "1", "-W", "1", "10.20.0.14")
    until(lambda: answered(place, ping), "an answer", 30)
    faults.cut(lab, "compute1", "management")
    assert switch.is_cut("compute1", lab.card("compute1", "management"))
    assert not switch.is_cut("compute1", lab.card("compute1", "tunnel"))
    with pytest.raises(RuntimeError, match="100% packet loss"):
        place.run(ping, timeout_s=20)
    assert faults.heal(lab, "compute1") == ["management", "tunnel"]
    until(lambda: answered(place, ping), "an answer", 30)
    assert not any(name.startswith("compute") for name in os.listdir("/sys/class/net"))


def answered(place: HostPlace, ping: tuple[str, ...]) -> bool:
    """A card that was just plugged may lose the first packets."""
    try:
        return " 0% packet loss" in place.run(ping, timeout_s=20)
    except RuntimeError:
        return False


def test_a_host_is_on_again_right_after_it_was_off(lab: Lab) -> None:
    """The kernel may still be busy with what the host had."""
    switch = Switch(Host(lab.directory, "switch"))
    switch.start()
    for _ in range(10):
        host = started(lab, "compute1")
        for card in lab.cards("compute1"):
            switch.plug(host, card)
        host.end()


def test_a_host_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    host = Host(tmp_path / "nothing", "broken")
    with pytest.raises(RuntimeError, match="host broken cannot be made: mount"):
        host.start(Furniture([("/no/such/directory", "/var/lib/pileus")]))
    assert hosts.running(tmp_path / "nothing") == set()
    assert Card(2, "external").name == "eth2"
