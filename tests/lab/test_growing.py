"""A cloud of one process grows in place: onto real engines, then by a compute host, then by a controller. A guest that
is pinged all the time does not notice."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pytest

from pileus.kernel.config.writer import to_toml
from pileus.lab import configure, engine_set, kernel_view
from pileus.lab.hosts import Host
from pileus.lab.kernel_view import Seen
from pileus.lab.lab import ADMIN, Lab
from pileus.lab.layout import read
from tests.lab.journey import Journey
from tests.lab.outage import Outage
from tests.lab.rehearsal import Rehearsal, until

pytestmark = [pytest.mark.guest, pytest.mark.long]

LAYOUT = Path(__file__).with_name("growing.toml")
CLOUD, FRONT, COMPUTE_TUNNEL = "http://10.20.0.11:8900", "http://10.20.0.12:8900", "10.21.0.13"
AWAY_LIMIT_S = 15.0  # three times what is promised, for a busy machine
PING_LOSS_LIMIT = 0.01
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
CONTROLLER = (
    "apis=identity-api,placement-api,image-api,network-api,compute-api:8900",
    "control=network-server,compute-scheduler,compute-conductor",
)
PROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    retries 3
    option redispatch
frontend cloud
    bind 10.20.0.12:8900
    default_backend controllers
backend controllers
    option httpchk GET /identity/v3
    server cloud 10.20.0.11:8900 check inter 500ms fall 2 rise 1
    server controller 10.20.0.14:8900 check inter 500ms fall 2 rise 1
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    with Rehearsal(tmp_path_factory.mktemp("growing"), str(LAYOUT)) as running:
        settings = running.disk("engines") / "haproxy.cfg"
        settings.write_text(PROXY)
        running.shell("engines", "haproxy", "-D", "-f", str(settings))
        clients = running.disk(ADMIN) / "clouds.yaml"
        clients.write_text(clients.read_text().replace(CLOUD, FRONT))
        yield running


def test_a_cloud_grows_and_its_guest_does_not_notice(lab: Rehearsal) -> None:
    journey = Journey(lab)
    journey.prepare()
    journey.boot("one")
    booted, machine = journey.inside("one", BOOT_ID), guests(lab, "cloud")
    assert len(machine) == 1
    with Pings(lab, journey.addresses["one"][1]) as pings:
        moves_to_engines(lab)
        grows_by_a_compute_host(lab, journey)
        grows_by_a_controller(lab, journey)
        assert guests(lab, "cloud") == machine
        assert journey.inside("one", BOOT_ID) == booted
    print(f"pings of the first guest: {pings}")
    assert pings.sent > 100
    assert pings.lost <= PING_LOSS_LIMIT * pings.sent, pings
    lab.verify("cloud")
    journey.delete_all()


def moves_to_engines(lab: Rehearsal) -> None:
    """From files to MariaDB and RabbitMQ, under reads and writes; what was accepted is there afterwards."""
    config = lab.disk("cloud") / "config" / "pileus.toml"
    where = engine_set.EngineSet(Lab(lab.labs / lab.name, read(LAYOUT))).where()
    new = tomllib.loads(config.read_text()) | {
        "database": {name: where.database.format(service=name) for name in configure.schemas()},
        "bus": {"url": where.bus[0]},
    }
    wanted = config.with_name("new.toml")
    wanted.write_text(to_toml(new))
    wanted.chmod(0o600)
    token = lab.stock("token", "issue")["id"]
    with Outage(lab, f"{CLOUD}/compute/v2.1/servers", token) as outage, Writes(lab, token) as writes:
        said = lab.shell("cloud", "pileus", "db", "move", "/etc/pileus/new.toml")
    print(said, f"reads while moving: {outage}; writes: {writes}", sep="\n")
    assert "verify: nothing found" in said
    assert outage.longest_s < AWAY_LIMIT_S, outage
    assert writes.accepted
    assert writes.accepted <= {image["Name"] for image in lab.stock("image", "list")}
    lab.do("image", "delete", *sorted(writes.accepted))


def grows_by_a_compute_host(lab: Rehearsal, journey: Journey) -> None:
    """It joins by token; a guest there and the first one reach each other over VXLAN."""
    join(lab, "compute", f'[network]\ntunnel_ip = "{COMPUTE_TUNNEL}"\n', "agents=compute-agent,network-l2")
    assert "mysql" not in (lab.disk("compute") / "config" / "pileus.toml").read_text()
    until(lambda: "compute" in {host["Host"] for host in lab.stock("compute", "service", "list")}, "the new host")
    hypervisor = lab.stock("hypervisor", "show", "compute")
    assert hypervisor["host_ip"] == "10.20.0.13"
    journey.boot("two", on="compute")
    journey.everything_works("one", "two")


def grows_by_a_controller(lab: Rehearsal, journey: Journey) -> None:
    """It joins by token; after the first controller is dead it does the work alone, until that is back."""
    join(lab, "controller", "", *CONTROLLER)
    with Outage(lab, f"{FRONT}/identity/v3") as outage:
        lab.fault("kill", "cloud", "pileus")
        listed = until(lambda: answer(lab, "server", "list"), "a list without the first controller")
        assert {server["Name"] for server in listed} == {"one", "two"}
        lab.do("server", "stop", "two")
        until(lambda: lab.stock("server", "show", "two")["status"] == "SHUTOFF", "a stop without the first controller")
        lab.do("server", "start", "two")
        # DHCP was in the first controller's process: with it, a new port is not ready until that is back.
        lab.stock("network", "create", "bare")
        lab.stock("subnet", "create", "bare", "--network", "bare", "--subnet-range", "10.8.0.0/24", "--no-dhcp")
        lab.stock("server", "create", "three", "--image", "guest", "--flavor", "nano", "--network", "bare",
                  "--availability-zone", "nova:compute")  # fmt: skip
        until(lambda: journey.ended("three"), "a boot without the first controller")
        lab.do("server", "delete", "three", "--wait")
        lab.do("network", "delete", "bare")
    print(f"first controller killed: {outage}")
    assert outage.longest_s < AWAY_LIMIT_S, outage
    lab.shell("cloud", "pileus", "up")
    until(lambda: journey.inside("two", "hostname", check=False).strip() == "two", "ssh to two")


def join(lab: Rehearsal, host: str, own: str, *processes: str) -> None:
    """Make a machine a host of the cloud and start its processes. own: what only it knows, for its configuration."""
    words = [word for process in processes for word in ("--process", process)]
    (lab.disk(host) / "config" / "pileus.toml").write_text(own)
    token = lab.shell("cloud", "pileus", "host", "token", *words).strip()
    secret = lab.disk(host) / "token"
    secret.write_text(token)
    lab.shell(host, "pileus", "join", "-", "--token-file", str(secret))
    lab.shell(host, "pileus", "up")


def answer(lab: Rehearsal, *words: str) -> Any:
    """The stock client's answer; None when it has none."""
    done = lab.command("shell", ADMIN, "--", "openstack", *words, "-f", "json", check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def guests(lab: Rehearsal, host: str) -> set[Seen]:
    """The processes of a host that are guests, by id and start time."""
    found = Host(lab.labs / lab.name, host).processes()
    running = {kernel_view.see(pid) for pid in found if "qemu-system" in " ".join(kernel_view.command_line(pid)[:1])}
    return {seen for seen in running if seen is not None}


class Pings:
    """Pings a guest from the internet, five times a second. `sent`, `lost` and `longest_s` without an answer."""

    def __init__(self, lab: Rehearsal, address: str) -> None:
        self._argv = Host(lab.labs / lab.name, "internet").enter(["ping", "-D", "-n", "-i", "0.2", address])
        self.sent = self.lost = 0
        self.longest_s = 0.0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.PIPE, text=True, cwd="/", start_new_session=True)
        return self

    def __exit__(self, *_exc: object) -> None:
        os.killpg(self._process.pid, signal.SIGINT)
        said, _ = self._process.communicate(timeout=20)
        times = [float(at) for at in re.findall(r"^\[([0-9.]+)\]", said, re.MULTILINE)]
        self.longest_s = max((later - one for one, later in pairwise(times)), default=0.0)
        if found := re.search(r"(\d+) packets transmitted, (\d+) received", said):
            self.sent = int(found[1])
            self.lost = self.sent - int(found[2])

    def __str__(self) -> str:
        return f"{self.sent} sent, {self.lost} lost, longest gap {self.longest_s:.1f} s"


class Writes:
    """Makes images without data, two a second. `accepted`: their names; `failures`: how many others, by kind."""

    _SCRIPT = """
import json, signal, sys, time, urllib.request
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
number = 0
while True:
    number += 1
    body = json.dumps({"name": f"write-{number}", "container_format": "bare", "disk_format": "raw"}).encode()
    headers = {"X-Auth-Token": sys.argv[2], "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, headers), timeout=10) as answer:
            said = f"{answer.status} write-{number}"
    except Exception as error:
        said = str(error)
    print(said, flush=True)
    time.sleep(0.5)
"""

    def __init__(self, lab: Rehearsal, token: str) -> None:
        url = f"{CLOUD}/image/v2/images"
        self._argv = Host(lab.labs / lab.name, ADMIN).enter([sys.executable, "-u", "-c", self._SCRIPT, url, token])
        self.accepted: set[str] = set()
        self.failures: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.PIPE, text=True, cwd="/", start_new_session=True)
        return self

    def __exit__(self, *_exc: object) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        said, _ = self._process.communicate(timeout=20)
        for line in said.splitlines():
            if found := re.fullmatch("201 (write-[0-9]+)", line):
                self.accepted.add(found[1])
            else:
                self.failures[line] = self.failures.get(line, 0) + 1

    def __str__(self) -> str:
        return f"{len(self.accepted)} accepted, failures {self.failures}"
