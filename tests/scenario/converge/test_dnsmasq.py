"""A dnsmasq that dies, hangs or cannot start: replaced, or reported and tried again; other networks go on."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.network_plane.plane import Host, wait_until
from tests.scenario.network_plane.test_dhcp import lease

from .site import REPAIR_S, Site

SLOW_S = 3600.0
# Takes DHCP's port as soon as it is free, and keeps it until told otherwise.
TAKER = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("trying", flush=True)
while True:
    try:
        sock.bind(("0.0.0.0", 67))
        break
    except OSError:
        time.sleep(0.001)
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def pid_of(site: Site) -> str:
    return site.host.run("cat", f"{site.dhcp_dir}/pid", check=False).stdout.strip()


def report(host: Host, network_id: str) -> dict[str, Any]:
    return host.reports().get("dhcp", {}).get(network_id, {})


def test_a_killed_one_is_back_at_once_with_its_leases(site: Site, leases: Path) -> None:
    site.stop_agent()
    (site.host.directory / "reports.json").unlink()
    site.host.start_agent(pass_every_s=SLOW_S, detail_s=SLOW_S)  # only an event can tell it in time
    site.settle()
    assert lease(site.a, leases, 10)["ip"] == site.a.ip
    known = site.host.run("cat", f"{site.dhcp_dir}/leases").stdout
    assert site.a.ip in known
    for _ in range(2):
        old, began = pid_of(site), time.monotonic()
        site.host.run("kill", "-9", old)
        wait_until("another dnsmasq", lambda old=old: pid_of(site) not in ("", old), REPAIR_S)
        assert time.monotonic() - began < SLOW_S / 2
        wait_until("it serves", lambda: lease(site.a, leases, 2).get("ip") == site.a.ip, REPAIR_S)
        assert site.a.ip in site.host.run("cat", f"{site.dhcp_dir}/leases").stdout
    site.stop_agent()
    site.start_agent()
    site.settle()


def test_one_that_hangs_is_replaced(site: Site, leases: Path) -> None:
    site.have_agent()
    old, others = pid_of(site), site.identities()
    site.host.run("kill", "-STOP", old)
    wait_until("another dnsmasq", lambda: pid_of(site) not in ("", old), REPAIR_S)
    wait_until("it serves", lambda: lease(site.a, leases, 2).get("ip") == site.a.ip, REPAIR_S)
    assert site.host.run("test", "-d", f"/proc/{old}", check=False).returncode != 0
    assert site.identities() == others


def test_one_that_cannot_start_is_reported_and_tried_again(site: Site, leases: Path) -> None:
    host = site.host
    site.have_agent()
    others = site.identities()
    taker = subprocess.Popen(
        host.argv("nsenter", f"--net=/run/netns/{site.dhcp_netns}", sys.executable, "-c", TAKER),
        stdout=subprocess.PIPE, stdin=subprocess.PIPE,
    )  # fmt: skip
    assert taker.stdout is not None
    assert taker.stdin is not None
    assert taker.stdout.readline() == b"trying\n"
    while not select.select([taker.stdout], [], [], 0.2)[0]:
        host.run("sh", "-c", f"kill -9 {pid_of(site)}", check=False)
    wait_until("the fault is reported", lambda: "already in use" in report(host, site.network.id).get("reason", ""),
               REPAIR_S)  # fmt: skip
    assert report(host, site.network.id)["status"] == "ERROR"
    shown = wait_until("and shown", lambda: host.reports()["beats"]["dhcp"]["configurations"].get("faults"), REPAIR_S)
    assert "already in use" in shown[site.network.id]
    assert set(others) == set(site.identities())
    taker.communicate(timeout=10)  # the end of its input is its end
    wait_until("it serves again", lambda: lease(site.a, leases, 2).get("ip") == site.a.ip, REPAIR_S)
    wait_until("the fault is gone", lambda: report(host, site.network.id)["status"] == "ACTIVE", REPAIR_S)
