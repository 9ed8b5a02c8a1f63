"""The virtual address moves to a host where HAProxy works, whatever dies."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from engines.loopback import LoopbackPlace
from pileus.lab.engines.haproxy import Front, HAProxies
from pileus.lab.engines.keepalived import Keepalived, KeepalivedCluster, VirtualAddress

pytestmark = pytest.mark.net

HOSTS = 3
ADDRESS = "10.91.0.100"
PING_EVERY_S = 0.1
WAIT_S = 60.0
MOVED_WITHIN_S = 3.0


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


class Network:
    """Three hosts and a client on a bridge, each in a namespace of its own."""

    def __init__(self, stack: ExitStack) -> None:
        self._prefix = f"k{uuid.uuid4().hex[:5]}"
        self.client = self._make(stack, "client")
        ip("-n", self.client, "link", "add", "br0", "type", "bridge")
        ip("-n", self.client, "link", "set", "br0", "up")
        ip("-n", self.client, "address", "add", "10.91.0.1/24", "dev", "br0")
        self.hosts = [self._host(stack, n) for n in range(HOSTS)]

    def _make(self, stack: ExitStack, name: str) -> str:
        namespace = f"{self._prefix}-{name}"
        ip("netns", "add", namespace)
        stack.callback(ip, "netns", "delete", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
        return namespace

    def _host(self, stack: ExitStack, n: int) -> str:
        namespace = self._make(stack, f"h{n}")
        ip("-n", self.client, "link", "add", f"h{n}", "type", "veth", "peer", "name", "mgmt", "netns", namespace)
        ip("-n", self.client, "link", "set", f"h{n}", "master", "br0", "up")
        ip("-n", namespace, "address", "add", f"10.91.0.{11 + n}/24", "dev", "mgmt")
        ip("-n", namespace, "link", "set", "mgmt", "up")
        return namespace

    def cut(self, n: int) -> None:
        """The host's cable."""
        ip("-n", self.client, "link", "set", f"h{n}", "down")

    def mend(self, n: int) -> None:
        ip("-n", self.client, "link", "set", f"h{n}", "up")

    def has_address(self, n: int) -> bool:
        return f"{ADDRESS}/" in ip("-n", self.hosts[n], "-4", "address", "show", "dev", "mgmt")

    def pings(self) -> bool:
        """Whether the address answers once, within a ping's time."""
        asked = ["ip", "netns", "exec", self.client, "ping", "-c1", "-W1", "-q", ADDRESS]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0


class Hosts:
    """The engines on them."""

    def __init__(self, network: Network, directory: Path) -> None:
        self.network = network
        places = [
            [LoopbackPlace(f"c{n}", f"10.91.0.{11 + n}", directory / f"{kind}{n}", ("ip", "netns", "exec", host))
             for n, host in enumerate(network.hosts)] for kind in ("p", "k")
        ]  # fmt: skip
        self.proxies = HAProxies(places[0], Front(ADDRESS, ()), user=None)
        watched = [place.directory / "stats.sock" for place in places[0]]
        self.addresses = KeepalivedCluster(places[1], VirtualAddress(f"{ADDRESS}/24", "mgmt"), watched)

    def start(self) -> None:
        self.proxies.restart()
        self.addresses.restart()

    def holder(self) -> int:
        """The number of the host with the address, once it answers there."""
        eventually(self.network.pings)
        member = self.addresses.holder()
        assert member is not None
        return self.addresses.members.index(member)


def eventually(what: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < WAIT_S
        time.sleep(PING_EVERY_S / 2)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with ExitStack() as stack:
        hosts = Hosts(Network(stack), tmp_path)
        stack.callback(hosts.proxies.stop)
        stack.callback(hosts.addresses.stop)
        hosts.start()
        eventually(lambda: hosts.addresses.holder() is not None)
        yield hosts


def lost_s(hosts: Hosts, fault: Callable[[int], None]) -> float:
    """For how long the address did not answer, when `fault` meets the host that has it."""
    held = hosts.holder()
    pinged = subprocess.Popen(
        ["ip", "netns", "exec", hosts.network.client, "ping", "-D", "-i", str(PING_EVERY_S), "-W1", ADDRESS],
        stdout=subprocess.PIPE, text=True,
    )
    try:
        time.sleep(1)
        fault(held)
        eventually(lambda: any(m.state() == "MASTER" for n, m in enumerate(hosts.addresses.members) if n != held))
        time.sleep(2)
    finally:
        pinged.terminate()
        said = pinged.communicate(timeout=WAIT_S)[0]
    times = [float(line.split("]")[0][1:]) for line in said.splitlines() if "bytes from" in line]
    assert time.time() - times[-1] < MOVED_WITHIN_S, "it did not come back"
    gap = max(b - a for a, b in itertools.pairwise(times))
    return 0.0 if gap < 2 * PING_EVERY_S else gap


def children(pid: int) -> list[int]:
    """And theirs."""
    found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [grandchild for child in found for grandchild in children(child)]


def test_the_address_moves_when_haproxy_keepalived_or_the_host_dies(hosts: Hosts) -> None:
    def kill_haproxy(n: int) -> None:
        hosts.proxies.members[n].kill()

    def kill_keepalived(n: int) -> None:
        hosts.addresses.members[n].kill()

    def kill_both(n: int) -> None:
        kill_haproxy(n)
        kill_keepalived(n)

    def lose_host(n: int) -> None:
        hosts.network.cut(n)
        for pid in children(hosts.addresses.members[n].pid):
            with suppress(ProcessLookupError):
                subprocess.run(["kill", "-9", str(pid)], check=False)
        kill_both(n)

    for fault in (kill_haproxy, kill_keepalived, kill_both, lose_host):
        before = hosts.holder()
        gap_s = lost_s(hosts, fault)
        print(f"\n{fault.__name__}: no answer for {gap_s:.2f} s")
        assert gap_s < MOVED_WITHIN_S, fault.__name__
        assert hosts.holder() != before
        if fault is not lose_host:  # which cannot clean up
            eventually(lambda before=before: not hosts.network.has_address(before))
        hosts.network.mend(before)
        hosts.start()
        eventually(lambda: settled(hosts.addresses.members))
        assert sum(hosts.network.has_address(n) for n in range(HOSTS)) == 1


def test_it_starts_after_a_power_cut_though_another_process_has_its_old_id(hosts: Hosts) -> None:
    member = hosts.addresses.members[0]
    member.kill()
    for name in ("pid", "vrrp.pid"):
        (member.place.directory / name).write_text(f"{os.getpid()}\n")
    hosts.start()
    eventually(lambda: settled(hosts.addresses.members))


def settled(members: tuple[Keepalived, ...]) -> bool:
    return sorted(member.state() for member in members) == ["BACKUP", "BACKUP", "MASTER"]
