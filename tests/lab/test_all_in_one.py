"""The smallest lab: up, a real guest that the internet reaches, faults, down, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pileus.lab.addresses import SITE
from tests.lab.rehearsal import COMMAND, GUEST_IMAGE, Rehearsal, until

pytestmark = pytest.mark.guest


def test_a_guest_in_a_lab_and_then_nothing_is_left(tmp_path: Path) -> None:
    devices = sorted(os.listdir("/sys/class/net"))
    rules = _rules()
    with Rehearsal(tmp_path, "all-in-one") as lab:
        lab.shell("cloud", "pileus", "demo", "--image", str(GUEST_IMAGE))
        (server,) = lab.stock("server", "list", "--all-projects")
        assert server["Status"] == "ACTIVE"
        address = server["Networks"]["private"][1]
        assert lab.pings("internet", address)
        metadata = "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json"
        inside = _login(lab, address, f"{metadata}; ping -c 1 {SITE}")
        assert server["ID"] in inside
        assert "1 packets received" in inside
        lab.command("status")
        lab.command("fault", "cut", "cloud", "external")
        assert lab.command("status", check=False).returncode == 1
        assert not lab.pings("internet", address, count=1)
        lab.command("fault", "heal", "cloud")
        until(lambda: lab.pings("internet", address, count=1), "the healed network")
        assert sorted(os.listdir("/sys/class/net")) == devices, "the machine has got a network device"
        assert _rules() == rules, "the machine has got rules"
        assert lab.mounts() == []
        inhabitants = lab.inhabitants()
        assert len(inhabitants) > 10  # libvirtd, QEMU, dnsmasq, the cloud, and what holds the hosts
    assert lab.processes() == []
    assert [seen for seen in inhabitants if seen.alive()] == []
    assert not lab.labs.exists()
    assert sorted(os.listdir("/sys/class/net")) == devices


@pytest.mark.parametrize("after_s", [0.3, 0.9, 1.5, 3.0])
def test_down_takes_away_what_a_killed_up_has_made(tmp_path: Path, after_s: float) -> None:
    lab = Rehearsal(tmp_path, "all-in-one")
    environment = os.environ | {"PILEUS_LABS": str(lab.labs)}
    up = subprocess.Popen([*COMMAND, "up", "--name", lab.name], env=environment, stdout=subprocess.DEVNULL)
    time.sleep(after_s)
    up.send_signal(signal.SIGKILL)
    up.wait()
    lab.command("down")
    until(lambda: not lab.processes(), "the end of its processes", 10)
    assert not lab.labs.exists()
    assert lab.mounts() == []


def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path) -> None:
    lab = Rehearsal(tmp_path, "all-in-one")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('about = "x"\n[hosts.a]\nnics = ["management"]\n[hosts.b]\nnics = ["wifi"]\n')
    for words, sentence in (
        (("up", "--layout", "nowhere"), "there is no layout 'nowhere'; there are all-in-one,"),
        (("up", "--layout", str(wrong)), "Invalid enum value 'wifi' - at `$.hosts[...].nics[0]`"),
        (("status",), "there is no lab"),
        (("fault", "kill", "cloud", "pileus"), "there is no lab"),
    ):
        done = lab.command(*words, check=False)
        assert done.returncode == 1
        assert sentence in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert not lab.labs.exists()


def _login(lab: Rehearsal, address: str, command: str) -> str:
    options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
    return lab.shell("cloud", "ssh", "-i", "/var/lib/pileus/demo_key", *options, f"root@{address}", command)


def _rules() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
