"""Hosts made of namespaces, guests in namespaces of theirs, and packets between them."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pileus.services.network.rpc import (
    DhcpHost,
    DhcpNetwork,
    DhcpSubnet,
    FixedIp,
    HostDhcp,
    HostNetwork,
    HostNetworks,
    HostPort,
    HostRouter,
    HostRouters,
    RouterGateway,
    RouterInterface,
    SecurityRule,
    tap_name,
)

AGENT = Path(__file__).with_name("agent_process.py")
CLONE_NEWNET = 0x40000000
DEADLINE_S = 60.0
T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def wait_until(what: str, probe: Callable[[], T], timeout_s: float = DEADLINE_S) -> T:
    """Wait for a true answer of `probe`; fail with `what` otherwise."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)


def new_mac() -> str:
    number = next(_numbers)
    return f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"


def rule(direction: str, protocol: str | None = None, low: int | None = None, high: int | None = None,
         remotes: tuple[str, ...] | None = None, ethertype: str = "IPv4") -> SecurityRule:  # fmt: skip
    return SecurityRule(
        direction=direction,  # type: ignore[arg-type]
        ethertype=ethertype,  # type: ignore[arg-type]
        protocol=protocol,
        port_range_min=low,
        port_range_max=high if high is not None else low,
        remote_prefixes=remotes,
    )


EGRESS_ALL = (rule("egress"), rule("egress", ethertype="IPv6"))


class Guest:
    """A namespace in a host with one interface that is plugged like a server's."""

    def __init__(self, host: Host, port: HostPort) -> None:
        self.host = host
        self.port = port
        self.name = f"guest-{port.id[:8]}"

    @property
    def ip(self) -> str:
        return self.port.fixed_ips[0].ip_address

    @property
    def netns(self) -> str:
        return f"/proc/{self.host.pid}/root/run/netns/{self.name}"

    def plug(self, addresses: bool = True, gateway: str | None = None) -> Guest:
        """What compute and the guest do: make the device, set the MAC, and (without DHCP) the addresses."""
        tap = self.port.device_name
        lines = [
            f"link add {tap} type veth peer name eth0 address {self.port.mac_address} netns {self.name}",
            f"link set {tap} up",
        ]
        self.host.ip("netns", "add", self.name)
        inner = ["link set lo up", "link set eth0 up"]
        if addresses:
            inner += [f"addr add {ip.ip_address}/{ip.prefix_length} dev eth0{' nodad' if ':' in ip.ip_address else ''}"
                      for ip in self.port.fixed_ips]  # fmt: skip
        if gateway:
            inner.append(f"route add default via {gateway}")
        self.host.batch(lines)
        self.host.batch(inner, self.name)
        return self

    def unplug(self) -> None:
        self.host.ip("link", "del", self.port.device_name, check=False)
        self.host.ip("netns", "del", self.name, check=False)

    def call(self, function: Callable[[], T]) -> T:
        """Run a function with this guest's network."""
        return call_in(self.netns, function)

    def run(self, *argv: str, timeout_s: float = 20.0) -> subprocess.CompletedProcess[str]:
        return self.host.run("nsenter", f"--net=/run/netns/{self.name}", *argv, check=False, timeout_s=timeout_s)

    def pings(self, address: str, count: int = 1, wait_s: float = 1.0) -> bool:
        return self.run("ping", "-n", "-c", str(count), "-i", "0.2", "-W", str(wait_s), address).returncode == 0

    def listen(self, port: int) -> Echo:
        return Echo(self, port)

    def connect(self, address: str, port: int, timeout_s: float = 0.7) -> socket.socket:
        """Raises OSError."""
        return self.call(lambda: socket.create_connection((address, port), timeout_s))

    def reaches(self, address: str, port: int) -> bool:
        try:
            self.connect(address, port).close()
        except OSError:
            return False
        return True

    def packet_socket(self, timeout_s: float = 0.5) -> socket.socket:
        def make() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sock.bind(("eth0", 0))
            sock.settimeout(timeout_s)
            return sock

        return self.call(make)

    def send_frame(self, frame: bytes) -> None:
        with self.packet_socket() as sock:
            sock.send(frame)


class Echo:
    """A TCP server that tells each client the address it sees, and echoes."""

    def __init__(self, guest: Guest, port: int) -> None:
        def make() -> socket.socket:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("0.0.0.0", port))
            sock.listen(8)
            return sock

        self._sock = guest.call(make)
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, peer = self._sock.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._echo, args=(client, peer), daemon=True).start()

    def _echo(self, client: socket.socket, peer: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            client.sendall(f"{peer[0]}\n".encode())
            while data := client.recv(4096):
                client.sendall(data)

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        for sock in (self._sock, *self._clients):
            sock.close()


def first_line(sock: socket.socket) -> str:
    return sock.recv(100).decode().strip()


def alive(sock: socket.socket, timeout_s: float = 0.7) -> bool:
    """True if an established echo connection still carries data."""
    sock.settimeout(timeout_s)
    try:
        sock.sendall(b"x")
        return sock.recv(10) == b"x"
    except OSError:
        return False


def call_in(netns: str, function: Callable[[], T]) -> T:
    """Run a function in a thread whose network is the namespace."""
    result: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            descriptor = os.open(netns, os.O_RDONLY)
            try:
                if _libc.setns(descriptor, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {netns}")
            finally:
                os.close(descriptor)
            result.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


class Host:
    """A hypervisor host: network, mount and pid namespaces of its own, with agents in it."""

    def __init__(self, directory: Path, name: str, tunnel_ip: str | None = None) -> None:
        self.directory = directory
        self.name = name
        self.tunnel_ip = tunnel_ip
        self.physical_networks: dict[str, str] = {}
        self.networks: dict[str, HostNetwork] = {}
        self.ports: dict[str, HostPort] = {}
        self.routers = HostRouters(host=name, generation=0)
        self.dhcp = HostDhcp(host=name, generation=0)
        self.metadata: dict[str, str] = {}
        self.generation = 0
        self.agent: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True)
        script = (
            "mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns && ip link set lo up && echo ready;"
            " while :; do sleep 3600 & wait; done"  # as pid 1 it also collects orphans
        )
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
             "--propagation", "private", "sh", "-c", script],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self.pid = int(children[0])

    def close(self) -> None:
        self.stop_agent()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # its pid namespace goes with it
        self._holder.wait(10)
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def argv(self, *argv: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-p", *argv]

    def run(
        self, *argv: str, check: bool = True, text_input: str | None = None, timeout_s: float = 20.0
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*argv), check=check, input=text_input, capture_output=True, text=True, timeout=timeout_s
        )

    def ip(self, *arguments: str, check: bool = True) -> str:
        return self.run("ip", *arguments, check=check).stdout

    def batch(self, lines: list[str], namespace: str | None = None) -> None:
        where = ["-n", namespace] if namespace else []
        done = self.run("ip", *where, "-batch", "-", text_input="\n".join(lines) + "\n", check=False)
        assert done.returncode == 0, f"{done.stderr} in {lines}"

    def links(self, namespace: str | None = None) -> dict[str, dict[str, Any]]:
        where = ["-n", namespace] if namespace else []
        found = json.loads(self.ip(*where, "-j", "-d", "link", "show") or "[]")
        return {link["ifname"]: link for link in found}

    # agents

    def start_agent(
        self, *, pass_every_s: float = 1.0, detail_s: float = 1.0, tools: Path | None = None
    ) -> None:
        """Start the agent. `pass_every_s`: how often it looks after its host unasked; `detail_s`: how long it believes
        what it found inside namespaces; `tools`: a directory of commands that it finds before the real ones."""
        settings = {
            "host": self.name,
            "pass_every_s": pass_every_s,
            "detail_s": detail_s,
            "l2": {"tunnel_ip": self.tunnel_ip, "physical_networks": self.physical_networks},
        }
        self.publish(ring=False)
        path = os.environ["PATH"] if tools is None else f"{tools}:{os.environ['PATH']}"
        self.agent = subprocess.Popen(
            self.argv(sys.executable, str(AGENT), str(self.directory), json.dumps(settings)),
            env=os.environ | {"PATH": path},
        )

    def agent_pid(self) -> int:
        """The agent itself, not the nsenter that started it."""
        assert self.agent is not None
        found = Path(f"/proc/{self.agent.pid}/task/{self.agent.pid}/children").read_text().split()
        return int(found[0]) if found else self.agent.pid

    def stop_agent(self, number: int = signal.SIGTERM) -> None:
        if self.agent is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.agent_pid(), number)
        self.agent.wait(10)
        self.agent = None

    # desired state

    def publish(self, ring: bool = True) -> int:
        """Write the desired state as it is now, with a new generation, and ring."""
        self.generation += 1
        networks = HostNetworks(
            host=self.name,
            generation=self.generation,
            networks=tuple(self.networks.values()),
            ports=tuple(self.ports.values()),
        )
        self._write("networks.json", networks)
        self._write("routers.json", msgspec.structs.replace(self.routers, generation=self.generation))
        self._write("dhcp.json", msgspec.structs.replace(self.dhcp, generation=self.generation))
        self._write("metadata.json", self.metadata)
        if ring and self.agent is not None:
            assert self.agent.poll() is None, (self.directory / "agent.log").read_text()
            if (self.directory / "reports.json").exists():  # before its first report it may not listen yet
                os.kill(self.agent_pid(), signal.SIGHUP)
        return self.generation

    def _write(self, name: str, value: Any) -> None:
        temporary = self.directory / f"{name}.new"
        temporary.write_bytes(msgspec.json.encode(value))
        os.replace(temporary, self.directory / name)

    def reports(self) -> dict[str, Any]:
        try:
            return json.loads((self.directory / "reports.json").read_text())
        except FileNotFoundError:
            return {}

    def settle(self, kinds: tuple[str, ...] = ("ports",)) -> None:
        """Publish and wait until the agents reported this generation (for kinds that have something to report)."""
        generation = self.publish()
        for kind in kinds:
            try:
                wait_until(
                    f"{kind} of {self.name} reported for generation {generation}",
                    lambda kind=kind: self.reports().get("generations", {}).get(kind, 0) >= generation,
                )
            except AssertionError as error:
                raise AssertionError(f"{error}\n{(self.directory / 'agent.log').read_text()[-3000:]}") from None

    def settle_devices(self, kinds: tuple[str, ...]) -> None:
        """As `settle`, and until the devices of all ports are there and forward."""
        self.settle(kinds)
        devices = [port.device_name for port in self.ports.values()]
        wait_until("all devices there", lambda: all(name in self.links() for name in devices))
        self.wait_forwarding(*devices)

    def wait_active(self, *guests: Guest) -> None:
        def states() -> dict[str, str]:
            known = self.reports().get("ports", {})
            return {guest.port.id: known.get(guest.port.id, {}).get("status", "") for guest in guests}

        try:
            wait_until("ports active", lambda: set(states().values()) == {"ACTIVE"})
        except AssertionError as error:
            raise AssertionError(f"{error}: {states()}\n{(self.directory / 'agent.log').read_text()[-3000:]}") from None
        self.wait_forwarding(*(guest.port.device_name for guest in guests))

    def wait_forwarding(self, *devices: str) -> None:
        """The kernel notices a new device's carrier with up to a second's delay; frames before that are lost."""

        def states() -> set[str]:
            links = self.links()
            return {
                links.get(name, {}).get("linkinfo", {}).get("info_slave_data", {}).get("state", "absent")
                for name in devices
            }

        wait_until("bridge ports forward", lambda: states() <= {"forwarding"})

    def add_network(self, network: HostNetwork) -> HostNetwork:
        self.networks[network.id] = network
        return network

    def add_port(
        self, network: HostNetwork, *addresses: str, rules: tuple[SecurityRule, ...] = EGRESS_ALL, **more: Any
    ) -> Guest:
        port_id = str(uuid.uuid4())
        fixed = []
        for cidr in addresses:
            address, length = cidr.split("/")
            fixed.append(FixedIp(address, int(length)))
        port = HostPort(
            id=port_id,
            network_id=network.id,
            device_name=tap_name(port_id),
            mac_address=new_mac(),
            fixed_ips=tuple(fixed),
            security_rules=rules,
            **more,
        )
        self.ports[port_id] = port
        return Guest(self, port)

    def change_port(self, guest: Guest, **changes: Any) -> None:
        guest.port = msgspec.structs.replace(guest.port, **changes)
        self.ports[guest.port.id] = guest.port


def vxlan_network(vni: int, *peers: str, mtu: int = 1450) -> HostNetwork:
    return HostNetwork(id=str(uuid.uuid4()), network_type="vxlan", segmentation_id=vni, mtu=mtu, peers=peers)


def with_peers(network: HostNetwork, *peers: str) -> HostNetwork:
    """The same network as another host must see it."""
    return msgspec.structs.replace(network, peers=peers)


def connect_hosts(first: Host, second: Host) -> None:
    """An underlay cable u0 between two hosts that have tunnel addresses."""
    names = [f"plu{os.getpid() % 100000}{side}" for side in "ab"]
    subprocess.run(["ip", "link", "add", names[0], "type", "veth", "peer", "name", names[1]], check=True)
    for host, name in zip((first, second), names, strict=True):
        subprocess.run(["ip", "link", "set", name, "netns", str(host.pid), "name", "u0"], check=True)
        host.batch(["link set u0 mtu 1550", f"addr add {host.tunnel_ip}/24 dev u0", "link set u0 up"])


@contextlib.contextmanager
def hosts(directory: Path, *tunnel_ips: str | None) -> Iterator[list[Host]]:
    made: list[Host] = []
    try:
        for number, tunnel_ip in enumerate(tunnel_ips):
            made.append(Host(directory / f"host{number}", f"host{number}", tunnel_ip))
        yield made
    finally:
        for host in made:
            host.close()


class Plane:
    """Builds routers and DHCP networks on one host, as the network server would describe them."""

    def __init__(self, host: Host) -> None:
        self.host = host
        host.tunnel_ip = "192.0.2.1"
        host.physical_networks = {"public": "br-ex"}
        host.batch(
            ["link add br-ex type bridge forward_delay 0", "addr add 203.0.113.1/24 dev br-ex", "link set br-ex up"]
        )
        self.external = host.add_network(
            HostNetwork(id=str(uuid.uuid4()), network_type="flat", physical_network="public", mtu=1500)
        )
        self._vni = 500

    def network(self) -> HostNetwork:
        self._vni += 1
        return self.host.add_network(vxlan_network(self._vni))

    def own_port(self, network: HostNetwork, *addresses: str) -> HostPort:
        """A trusted port: the agents make its device."""
        return self.host.add_port(network, *addresses, rules=(), trusted=True).port

    def router(
        self, *interfaces: tuple[HostNetwork, str], gateway: str | None = None, ra_mode: str = "", **more: Any
    ) -> HostRouter:
        """`interfaces`: (network, address/length). `gateway`: address/length in the external network."""
        inner = []
        for network, address in interfaces:
            port = self.own_port(network, address)
            inner.append(
                RouterInterface(
                    port_id=port.id, network_id=network.id, mac_address=port.mac_address, mtu=network.mtu,
                    fixed_ips=port.fixed_ips, ra_mode=ra_mode,  # type: ignore[arg-type]
                )
            )  # fmt: skip
        outer = None
        if gateway is not None:
            port = self.own_port(self.external, gateway)
            outer = RouterGateway(
                port_id=port.id, network_id=self.external.id, mac_address=port.mac_address, mtu=1500,
                fixed_ips=port.fixed_ips, next_hops=("203.0.113.1",),
            )  # fmt: skip
        router = HostRouter(id=str(uuid.uuid4()), interfaces=tuple(inner), gateway=outer, **more)
        self.set_routers(*self.host.routers.routers, router)
        return router

    def set_routers(self, *routers: HostRouter) -> None:
        self.host.routers = msgspec.structs.replace(self.host.routers, routers=routers)

    def change_router(self, router: HostRouter, **changes: Any) -> HostRouter:
        new = msgspec.structs.replace(router, **changes)
        self.set_routers(*(new if old.id == router.id else old for old in self.host.routers.routers))
        return new

    def outsider(self, address: str = "203.0.113.50") -> Guest:
        """Somebody on the external network: a namespace plugged into br-ex itself."""
        port = HostPort(
            id=str(uuid.uuid4()), network_id=self.external.id, device_name=f"out{next(_numbers)}",
            mac_address=new_mac(), fixed_ips=(FixedIp(address, 24),),
        )  # fmt: skip
        guest = Guest(self.host, port).plug()
        self.host.batch([f"link set {port.device_name} master br-ex", f"link set {port.device_name} up"])
        return guest

    def dhcp(self, network: HostNetwork, subnet: DhcpSubnet, address: str, *guests: Guest, **more: Any) -> DhcpNetwork:
        port = self.own_port(network, address)
        described = DhcpNetwork(
            id=network.id, port_id=port.id, mac_address=port.mac_address, mtu=network.mtu, fixed_ips=port.fixed_ips,
            subnets=(subnet,), hosts=tuple(dhcp_host(guest) for guest in guests), **more,
        )  # fmt: skip
        self.set_dhcp(*self.host.dhcp.networks, described)
        return described

    def set_dhcp(self, *networks: DhcpNetwork) -> None:
        self.host.dhcp = msgspec.structs.replace(self.host.dhcp, networks=networks)

    def change_dhcp(self, network: DhcpNetwork, **changes: Any) -> DhcpNetwork:
        new = msgspec.structs.replace(network, **changes)
        self.set_dhcp(*(new if old.id == network.id else old for old in self.host.dhcp.networks))
        return new


def dhcp_host(guest: Guest, **more: Any) -> DhcpHost:
    return DhcpHost(
        port_id=guest.port.id, mac_address=guest.port.mac_address, fixed_ips=guest.port.fixed_ips,
        **({"hostname": f"vm-{guest.port.id[:4]}"} | more),
    )  # fmt: skip
