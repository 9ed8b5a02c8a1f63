"""Routers: translation, floating addresses, routes, isolation, repair and removal."""

from __future__ import annotations

import ipaddress
import re
import signal
import socket
import subprocess
import sys
from uuid import uuid4

import pytest

from pileus.services.network.drivers.l2.linuxbridge.port_security import link_local
from pileus.services.network.rpc import AddressPair, ExtraRoute, FixedIp, FloatingIp, HostRouter

from .plane import EGRESS_ALL, Guest, Plane, alive, call_in, first_line, rule, wait_until

MASK64 = 2**64 - 1
OPEN = (*EGRESS_ALL, rule("ingress"))


def floating(address: str, guest: Guest) -> FloatingIp:
    return FloatingIp(
        id=str(uuid4()), floating_ip_address=address, fixed_ip_address=guest.ip, port_id=guest.port.id
    )


class Site:
    """Two guests behind a router with a gateway, and an outsider."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.network = plane.network()
        self.a = plane.host.add_port(self.network, "10.0.0.11/24", rules=OPEN).plug(gateway="10.0.0.1")
        self.b = plane.host.add_port(self.network, "10.0.0.12/24", rules=OPEN).plug(gateway="10.0.0.1")
        self.router = plane.router((self.network, "10.0.0.1/24"), gateway="203.0.113.10/24")
        self.outsider = plane.outsider()

    def start(self) -> Site:
        self.plane.host.start_agent()
        self.settle()
        return self

    def settle(self) -> None:
        self.plane.host.settle_devices(("ports", "routers"))

    def associate(self, *floatings: FloatingIp) -> None:
        self.router = self.plane.change_router(self.router, floating_ips=floatings)
        self.settle()


@pytest.fixture
def site(plane: Plane) -> Site:
    return Site(plane).start()


def test_guests_without_floating_address_are_seen_as_the_gateway(site: Site) -> None:
    with site.outsider.listen(80), site.a.connect("203.0.113.50", 80, 3) as flow:
        assert first_line(flow) == "203.0.113.10"
    site.outsider.run("ip", "route", "add", "10.0.0.0/24", "via", "203.0.113.10")
    with site.a.listen(80):
        assert not site.outsider.reaches(site.a.ip, 80)  # nobody routes in around the translation
    site.router = site.plane.change_router(site.router, enable_snat=False)
    site.settle()
    with site.outsider.listen(81), site.a.connect("203.0.113.50", 81, 3) as flow:
        assert first_line(flow) == site.a.ip


def test_floating_address_works_both_ways_and_moves_cleanly(site: Site) -> None:
    address = "203.0.113.100"
    site.outsider.run("ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:99", "nud", "stale", "dev", "eth0")
    site.associate(floating(address, site.a))
    neighbours = site.outsider.run("ip", "neigh", "show", address).stdout
    assert "02:00:00:00:00:99" not in neighbours  # the gratuitous ARP corrected it
    with site.a.listen(80), site.b.listen(80), site.outsider.listen(80):
        inbound = site.outsider.connect(address, 80, 3)
        assert first_line(inbound) == "203.0.113.50"  # the guest sees the true client
        with site.a.connect("203.0.113.50", 80, 3) as outbound:
            assert first_line(outbound) == address
        with site.b.connect("203.0.113.50", 80, 3) as outbound:
            assert first_line(outbound) == "203.0.113.10"
        with site.b.connect(address, 80, 3) as hairpin:  # neighbour in the same subnet, by floating address
            assert first_line(hairpin) == "203.0.113.10"
        site.associate(floating(address, site.b))
        assert not alive(inbound)  # the old owner's flow is cut
        with site.outsider.connect(address, 80, 3) as flow:
            assert first_line(flow) == "203.0.113.50"
        with site.b.connect("203.0.113.50", 80, 3) as outbound:
            assert first_line(outbound) == address
        site.associate()
        assert not site.outsider.reaches(address, 80)
        inbound.close()


def test_networks_of_one_router_talk_and_routers_are_apart(plane: Plane) -> None:
    site = Site(plane)
    other = plane.network()
    c = plane.host.add_port(other, "10.0.1.11/24", rules=OPEN).plug(gateway="10.0.1.1")
    port = plane.router((other, "10.0.1.1/24"))
    plane.set_routers(*(router for router in plane.host.routers.routers if router.id != port.id))
    site.router = plane.change_router(site.router, interfaces=(*site.router.interfaces, *port.interfaces))
    foreign = plane.network()
    d = plane.host.add_port(foreign, "10.0.2.11/24", rules=OPEN).plug(gateway="10.0.2.1")
    plane.router((foreign, "10.0.2.1/24"), gateway="203.0.113.20/24")
    site.start()
    assert site.a.pings(c.ip, wait_s=3)
    assert c.pings(site.a.ip)
    assert not d.pings(site.a.ip, wait_s=0.5)
    assert not site.a.pings(d.ip, wait_s=0.5)
    with site.outsider.listen(80), d.connect("203.0.113.50", 80, 3) as flow:
        assert first_line(flow) == "203.0.113.20"


def test_extra_routes_lead_through_a_guest(site: Site) -> None:
    site.b.run("ip", "addr", "add", "172.20.0.1/32", "dev", "lo")
    good, bad = ExtraRoute("172.20.0.0/24", site.b.ip), ExtraRoute("172.21.0.0/24", "192.168.77.1")
    site.router = site.plane.change_router(site.router, routes=(good, bad))
    site.plane.host.change_port(site.b, allowed_address_pairs=(AddressPair("172.20.0.0/24"),))
    site.settle()
    namespace = f"qrouter-{site.router.id}"
    routes = site.plane.host.ip("-n", namespace, "route")
    assert "172.20.0.0/24 via 10.0.0.12" in routes
    assert "default via 203.0.113.1" in routes
    assert "172.21.0.0" in site.plane.host.reports()["routers"][site.router.id]["reason"]
    assert site.a.run("ping", "-c1", "-W2", "172.20.0.1").returncode == 0
    site.router = site.plane.change_router(site.router, routes=())
    site.settle()
    assert "172.20.0.0" not in site.plane.host.ip("-n", namespace, "route")


def test_restart_keeps_packets_and_repairs_what_was_broken_by_hand(site: Site) -> None:
    site.associate(floating("203.0.113.100", site.a))
    host = site.plane.host
    assert site.outsider.pings("203.0.113.100", wait_s=3)
    ping = subprocess.Popen(
        host.argv("nsenter", f"--net=/run/netns/{site.outsider.name}", "ping", "-n", "-i", "0.01", "-c", "150", "-W",
                  "1", "203.0.113.100"),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    host.stop_agent(signal.SIGKILL)
    (host.directory / "reports.json").unlink()
    host.start_agent()
    host.settle(("ports", "routers"))
    output, _ = ping.communicate(timeout=20)
    assert re.search(r"150 packets transmitted, 150 received", output), output

    namespace = f"qrouter-{site.router.id}"
    host.run("nsenter", f"--net=/run/netns/{namespace}", "iptables", "-t", "nat", "-F")
    wait_until("NAT repaired", lambda: nat_is_back(site))
    host.ip("netns", "del", namespace)
    wait_until("router repaired", lambda: site.outsider.pings("203.0.113.100", wait_s=0.3), 15)


def nat_is_back(site: Site) -> bool:
    saved = site.plane.host.run(
        "nsenter", f"--net=/run/netns/qrouter-{site.router.id}", "iptables-save", "-t", "nat"
    ).stdout
    return "-d 203.0.113.100/32" in saved


def test_removed_routers_leave_nothing(site: Site) -> None:
    host = site.plane.host
    router: HostRouter = site.router
    site.plane.set_routers()
    for interface in (*router.interfaces, router.gateway):
        assert interface is not None
        del host.ports[interface.port_id]
    host.ip("netns", "add", "qrouter-somebody-elses")
    host.publish()
    wait_until("namespace gone", lambda: f"qrouter-{router.id}" not in host.ip("netns", "list"))
    assert "qrouter-somebody-elses" in host.ip("netns", "list")
    kept = {site.a.port.device_name, site.b.port.device_name}
    wait_until("devices gone", lambda: {name for name in host.links() if name.startswith("tap")} == kept)
    with pytest.raises(OSError):  # noqa: PT011 - any kind of unreachable
        site.a.connect("203.0.113.50", 80)


def test_guests_configure_their_ipv6_address_from_the_router(plane: Plane) -> None:
    network, other = plane.network(), plane.network()
    a = plane.host.add_port(network, "2001:db8:5::5/64", rules=OPEN)
    prefix = int(ipaddress.IPv6Address("2001:db8:5::"))
    own = ipaddress.IPv6Address(prefix | int(link_local(a.port.mac_address)) & MASK64)
    plane.host.change_port(a, fixed_ips=(FixedIp(str(own), 64),))
    a.plug(addresses=False)
    b = plane.host.add_port(other, "2001:db8:6::5/64", rules=(*OPEN, rule("ingress", ethertype="IPv6"))).plug()
    plane.router((network, "2001:db8:5::1/64"), (other, "2001:db8:6::1/64"), ra_mode="slaac")
    plane.host.start_agent()
    plane.host.settle(("ports", "routers"))
    wait_until("address configured", lambda: str(own) in a.run("ip", "-6", "addr", "show", "dev", "eth0").stdout, 15)
    wait_until("default route", lambda: "default via fe80" in a.run("ip", "-6", "route").stdout)
    wait_until("routed", lambda: a.pings(b.ip))


def test_guests_reach_the_world_through_the_hosts_uplink(plane: Plane) -> None:
    host = plane.host
    code = "import asyncio; from pileus.kernel.host.uplink import Uplink;" \
        " asyncio.run(Uplink({'br-ex': '203.0.113.1/24'}, masquerade=True).ensure())"  # fmt: skip
    host.run(sys.executable, "-c", code)
    world = plane.outsider("198.51.100.2")  # knows no way back to the external network
    host.batch([f"link set {world.port.device_name} nomaster",
                f"addr add 198.51.100.1/24 dev {world.port.device_name}"])  # fmt: skip
    site = Site(plane).start()
    with world.listen(80), site.a.connect("198.51.100.2", 80, 3) as flow:
        assert first_line(flow) == "198.51.100.1"
    site.associate(floating("203.0.113.100", site.a))
    with world.listen(80), site.a.connect("198.51.100.2", 80, 3) as flow:
        assert first_line(flow) == "198.51.100.1"
    # and the host reaches a floating address
    with site.a.listen(80):
        own = f"/proc/{host.pid}/ns/net"
        with call_in(own, lambda: socket.create_connection(("203.0.113.100", 80), 3)) as flow:
            assert first_line(flow) == "203.0.113.1"
