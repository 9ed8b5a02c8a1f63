"""A small network for guest tests: two namespaces, bridges between them, a real dnsmasq and a metadata server.

* namespace "outside": a bridge per segment with the taps of the guests; the tests' own clients run here;
* namespace "services": one interface per segment with dnsmasq on it, and the HTTP server at 169.254.169.254.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

COMMAND_TIMEOUT_S = 20
STOP_TIMEOUT_S = 5
METADATA_ADDRESS = "169.254.169.254"


def command(*arguments: str | Path, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    """Runs a program that must succeed; returns what it wrote."""
    done = subprocess.run(
        [str(a) for a in arguments], capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that we started and waits for it."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT_S)


@dataclass(frozen=True)
class Segment:
    """One layer-2 network with the lease that its DHCP server gives to one guest interface."""

    name: str
    prefix: str  # "10.77.0": a /24
    mac: str
    mtu: int
    metadata_route: bool

    @property
    def gateway(self) -> str:
        return f"{self.prefix}.1"

    @property
    def server(self) -> str:
        return f"{self.prefix}.2"

    @property
    def guest(self) -> str:
        return f"{self.prefix}.77"

    @property
    def ipv6_prefix(self) -> str:
        return f"fd{self.prefix.split('.')[1]}:"


@dataclass
class GuestNetwork:
    """Namespaces, bridges, DHCP and metadata. Use as a context manager; everything is removed at the end."""

    name: str
    folder: Path
    segments: tuple[Segment, ...]
    metadata: Path = field(init=False)
    dhcp_servers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _taps: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.outside, self.services = f"{self.name}-out", f"{self.name}-srv"
        self.metadata = self.folder / "metadata"

    def __enter__(self) -> GuestNetwork:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        self.metadata.mkdir(parents=True)
        for namespace in (self.outside, self.services):
            command("ip", "netns", "add", namespace)
            self._stack.callback(command, "ip", "netns", "delete", namespace)
            command("ip", "-n", namespace, "link", "set", "lo", "up")
        command("ip", "-n", self.services, "address", "add", f"{METADATA_ADDRESS}/32", "dev", "lo")
        for segment in self.segments:
            self._connect(segment)
            self.dhcp_servers[segment.name] = self._run(*self._dnsmasq(segment))
        self._run(
            sys.executable, "-u", "-m", "http.server", "80", "--bind", METADATA_ADDRESS, "--directory", self.metadata
        )

    def _connect(self, segment: Segment) -> None:
        out, bridge = ("ip", "-n", self.outside), f"br-{segment.name}"
        command(*out, "link", "add", bridge, "type", "bridge")
        command(*out, "address", "add", f"{segment.gateway}/24", "dev", bridge)
        peer = ("peer", "name", segment.name, "netns", self.services)
        command(*out, "link", "add", f"v-{segment.name}", "type", "veth", *peer)
        command(*out, "link", "set", f"v-{segment.name}", "master", bridge, "up")
        command(*out, "link", "set", bridge, "up")
        srv = ("ip", "-n", self.services)
        command(*srv, "address", "add", f"{segment.server}/24", "dev", segment.name)
        command(*srv, "address", "add", f"{segment.ipv6_prefix}:2/64", "dev", segment.name, "nodad")
        command(*srv, "link", "set", segment.name, "up")

    def _dnsmasq(self, segment: Segment) -> tuple[str | Path, ...]:
        """A server that leases one known address, with a router option that a client of RFC 3442 has to ignore
        when it also gets classless routes."""
        routes = f"0.0.0.0/0,{segment.gateway},{METADATA_ADDRESS}/32,{segment.server}"
        route_option = (f"--dhcp-option=121,{routes}",) if segment.metadata_route else ()
        wrong_router = f"{segment.prefix}.99" if segment.metadata_route else segment.gateway
        return (
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=",
            "--no-hosts", "--no-resolv", f"--interface={segment.name}", "--bind-interfaces", "--except-interface=lo",
            f"--dhcp-leasefile={self.folder / segment.name}.leases",
            "--local=/test/", f"--host-record=www.test,{segment.gateway}",
            f"--dhcp-range={segment.prefix}.0,static,255.255.255.0,120",
            f"--dhcp-host={segment.mac},{segment.guest}",
            f"--dhcp-option=26,{segment.mtu}", f"--dhcp-option=3,{wrong_router}",
            f"--dhcp-option=6,{segment.server}", *route_option,
            f"--dhcp-range={segment.ipv6_prefix}:,ra-only,64", "--enable-ra", "--ra-param=*,4",
        )  # fmt: skip

    def _run(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Starts a server in the services namespace; it ends with the network."""
        log = self._stack.enter_context((self.folder / "servers.log").open("ab"))
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.services, *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        self._stack.callback(stop, process)
        return process

    def tap(self, segment: Segment) -> str:
        """The tap on the segment's bridge for one QEMU at a time; made at first use, goes with the namespace."""
        tap = f"tap-{segment.name}"
        if tap not in self._taps:
            command("ip", "-n", self.outside, "tuntap", "add", tap, "mode", "tap")
            command("ip", "-n", self.outside, "link", "set", tap, "master", f"br-{segment.name}", "up")
            self._taps.add(tap)
        return tap

    def publish(self, files: dict[str, str]) -> None:
        """Makes these paths, and no others, what the metadata server serves."""
        for old in sorted(self.metadata.rglob("*"), reverse=True):
            old.rmdir() if old.is_dir() else old.unlink()
        for path, text in files.items():
            (self.metadata / path).parent.mkdir(parents=True, exist_ok=True)
            (self.metadata / path).write_text(text)
