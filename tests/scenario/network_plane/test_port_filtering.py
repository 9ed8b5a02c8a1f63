"""Security groups and anti-spoofing, seen from guests that try."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest

from pileus.services.network.rpc import AddressPair, bridge_name

from .frames import arp, arrives, icmpv6, ipv4_udp, ipv6, mac_bytes
from .plane import (
    EGRESS_ALL,
    Guest,
    Host,
    alive,
    first_line,
    rule,
    vxlan_network,
    wait_until,
)

NEEDLE = b"needle-in-a-frame"
OTHER_MAC = "fa:16:3e:ff:ff:01"


@pytest.fixture
def pair(host: Host) -> tuple[Guest, Guest]:
    """Two guests with IPv4 and IPv6; the first may only send, the second takes everything."""
    host.tunnel_ip = "192.0.2.1"
    network = host.add_network(vxlan_network(100))
    open_rules = (*EGRESS_ALL, rule("ingress"), rule("ingress", ethertype="IPv6"))
    a = host.add_port(network, "10.0.0.1/24", "2001:db8::1/64").plug()
    b = host.add_port(network, "10.0.0.2/24", "2001:db8::2/64", rules=open_rules).plug()
    host.start_agent()
    host.wait_active(a, b)
    return a, b


def test_default_group_denies_in_and_allows_answers(pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    assert a.pings(b.ip)
    assert a.pings("2001:db8::2")
    assert not b.pings(a.ip, wait_s=0.5)
    assert not b.pings("2001:db8::1", wait_s=0.5)
    with a.listen(80), b.listen(80):
        assert a.reaches(b.ip, 80)
        assert not b.reaches(a.ip, 80)


def test_rules_apply_to_running_guests_and_cut_flows_that_lost_theirs(host: Host, pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    with a.listen(80), a.listen(443):
        assert not b.reaches(a.ip, 80)
        web, tls = rule("ingress", "tcp", 80), rule("ingress", "tcp", 443, 450)
        host.change_port(a, security_rules=(*EGRESS_ALL, web, tls))
        host.settle()
        lost, kept = b.connect(a.ip, 80), b.connect(a.ip, 443)
        assert first_line(lost) == first_line(kept) == b.ip
        host.change_port(a, security_rules=(*EGRESS_ALL, tls))
        host.settle()
        assert alive(kept)
        assert not alive(lost)
        assert not b.reaches(a.ip, 80)
        lost.close()
        kept.close()


def test_removed_ports_flows_do_not_pass_to_the_next_owner_of_the_address(
    host: Host, pair: tuple[Guest, Guest]
) -> None:
    a, b = pair
    with b.listen(80):
        flow = a.connect(b.ip, 80)
        assert first_line(flow) == a.ip
        assert a.ip in host.run("conntrack", "-L").stdout
        a.unplug()
        del host.ports[a.port.id]
        host.settle()
        assert a.ip not in host.run("conntrack", "-L").stdout
        flow.close()


def test_remote_groups_admit_members_only(host: Host, pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    c = host.add_port(host.networks[a.port.network_id], "10.0.0.3/24").plug()
    members = tuple(f"10.0.0.{number}/32" for number in (2, *range(20, 60)))  # long: gets a chain of its own
    host.change_port(a, security_rules=(*EGRESS_ALL, rule("ingress", "tcp", 22, 22, members)))
    host.settle()
    host.wait_active(c)
    with a.listen(22):
        assert b.reaches(a.ip, 22)
        assert not c.reaches(a.ip, 22)
        host.change_port(a, security_rules=(*EGRESS_ALL, rule("ingress", "tcp", 22, 22, ("10.0.0.3/32",))))
        host.settle()
        assert c.reaches(a.ip, 22)
        assert not b.reaches(a.ip, 22)
        host.change_port(a, security_rules=(*EGRESS_ALL, rule("ingress", "tcp", 22, 22, ())))  # a group without members
        host.settle()
        assert not c.reaches(a.ip, 22)


def test_egress_rules_limit_what_a_guest_sends(host: Host, pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    host.change_port(a, security_rules=(rule("egress", "tcp", 80, 80, (f"{b.ip}/32",)),))
    host.settle()
    with b.listen(80), b.listen(81):
        assert a.reaches(b.ip, 80)
        assert not a.reaches(b.ip, 81)
        assert not a.pings(b.ip, wait_s=0.5)


def test_odd_rules_are_left_out_and_stop_no_other(host: Host, pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    odd = [
        rule("ingress", "vrrp", 80, 90),
        rule("ingress", None, 80, 80),
        rule("ingress", "tcp", 90, 80),
        rule("ingress", "tcp", 1, 99999),
        rule("ingress", "no-such-protocol"),
        rule("ingress", "tcp", 80, 80, ("10.0.0.0/99",)),
        rule("ingress", "tcp", 80, 80, ("x -j ACCEPT\n-A FORWARD -j ACCEPT",)),
        rule("ingress", "icmp", 300, 1),
        rule("ingress", "112"),
        rule("ingress", "sctp", 5, 5),
        rule("ingress", "udplite", 5, 9),
        rule("ingress", "dccp", 5, 5),
        rule("ingress", "icmp", 8, 0),
        rule("ingress", "icmpv6", 128, 0, ethertype="IPv6"),
        rule("ingress", "icmp", 128, 0, ethertype="IPv6"),
        rule("ingress", "0"),
    ]
    numbers = [rule("ingress", str(number)) for number in (0, 1, 58, 255)]
    host.change_port(b, security_rules=(*EGRESS_ALL, *odd, *numbers, rule("ingress", "tcp", 8080)))
    host.change_port(a, security_rules=(*EGRESS_ALL, *odd[:-1], rule("ingress", "tcp", 8080)))
    host.settle()
    with a.listen(8080), a.listen(80):
        assert b.reaches(a.ip, 8080)
        assert not b.reaches(a.ip, 80)
    assert b.pings(a.ip)
    assert b.pings("2001:db8::1")


def udp(a: Guest, b: Guest, **changes: str | int) -> bytes:
    values: dict[str, str | int] = {
        "source_mac": a.port.mac_address, "target_mac": b.port.mac_address, "source": a.ip, "target": b.ip,
        "source_port": 1000, "target_port": 2000,
    } | changes  # fmt: skip
    return ipv4_udp(**values, payload=NEEDLE)  # type: ignore[arg-type]


def link_local(guest: Guest) -> str:
    first, *rest = mac_bytes(guest.port.mac_address)
    parts = bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]])
    return socket.inet_ntop(socket.AF_INET6, b"\xfe\x80" + bytes(6) + parts)


def router_advertisement(a: Guest, b: Guest) -> bytes:
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + NEEDLE
    return ipv6(a.port.mac_address, "33:33:00:00:00:01", link_local(a), "ff02::1", 58,
                icmpv6(link_local(a), "ff02::1", body))  # fmt: skip


def hidden_router_advertisement(a: Guest, b: Guest) -> bytes:
    """The same behind a destination options header, which simple filters do not look behind."""
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + NEEDLE
    options = bytes([58, 0, 1, 4, 0, 0, 0, 0])
    return ipv6(a.port.mac_address, "33:33:00:00:00:01", link_local(a), "ff02::1", 60,
                options + icmpv6(link_local(a), "ff02::1", body))  # fmt: skip


def neighbour_advertisement(a: Guest, target: str) -> bytes:
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + socket.inet_pton(socket.AF_INET6, target) + NEEDLE
    return ipv6(a.port.mac_address, "33:33:00:00:00:01", link_local(a), "ff02::1", 58,
                icmpv6(link_local(a), "ff02::1", body))  # fmt: skip


def dhcpv6_server(a: Guest, b: Guest) -> bytes:
    datagram = struct.pack("!HHHH", 547, 546, 8 + len(NEEDLE), 0) + NEEDLE
    return ipv6(a.port.mac_address, b.port.mac_address, link_local(a), link_local(b), 17, datagram)


def tagged(a: Guest, b: Guest) -> bytes:
    plain = udp(a, b)
    return plain[:12] + b"\x81\x00\x00\x05" + plain[12:]


def exotic(a: Guest, b: Guest) -> bytes:
    return mac_bytes(b.port.mac_address) + mac_bytes(a.port.mac_address) + b"\x88\xb5" + NEEDLE


FORGERIES: dict[str, Callable[[Guest, Guest], bytes]] = {
    "MAC": lambda a, b: udp(a, b, source_mac=OTHER_MAC),
    "IP": lambda a, b: udp(a, b, source="10.0.0.77"),
    "IP of the peer": lambda a, b: udp(a, b, source=b.ip),
    "ARP sender IP": lambda a, b: arp(a.port.mac_address, a.port.mac_address, "10.0.0.254", b.ip) + NEEDLE,
    "ARP reply": lambda a, b: arp(a.port.mac_address, a.port.mac_address, "10.0.0.254", b.ip, 2) + NEEDLE,
    "ARP sender MAC": lambda a, b: arp(a.port.mac_address, OTHER_MAC, a.ip, b.ip) + NEEDLE,
    "gratuitous ARP": lambda a, b: arp(a.port.mac_address, a.port.mac_address, "10.0.0.254", "10.0.0.254") + NEEDLE,
    "DHCP server": lambda a, b: udp(a, b, source_port=67, target_port=68),
    "DHCPv6 server": dhcpv6_server,
    "router advertisement": router_advertisement,
    "hidden router advertisement": hidden_router_advertisement,
    "neighbour advertisement": lambda a, b: neighbour_advertisement(a, "2001:db8::ff"),
    "neighbour advertisement of the peer": lambda a, b: neighbour_advertisement(a, "2001:db8::2"),
    "IPv6": lambda a, b: ipv6(a.port.mac_address, b.port.mac_address, "2001:db8::77", "2001:db8::2", 17,
                              struct.pack("!HHHH", 1, 2, 8 + len(NEEDLE), 0) + NEEDLE),
    "VLAN tag": tagged,
    "other ethertype": exotic,
}  # fmt: skip
HONEST: dict[str, Callable[[Guest, Guest], bytes]] = {
    "UDP": udp,
    "ARP": lambda a, b: arp(a.port.mac_address, a.port.mac_address, a.ip, b.ip) + NEEDLE,
    "ARP probe": lambda a, b: arp(a.port.mac_address, a.port.mac_address, "0.0.0.0", b.ip) + NEEDLE,
    "DHCP client": lambda a, b: udp(a, b, source="0.0.0.0", source_port=68, target_port=67),
    "neighbour advertisement": lambda a, b: neighbour_advertisement(a, "2001:db8::1"),
}


def test_forged_frames_do_not_leave_a_guest(host: Host, pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    for name, make in HONEST.items():
        assert arrives(b, lambda make=make: a.send_frame(make(a, b)), NEEDLE, 1.0), f"honest {name} was dropped"
    passed = [
        name for name, make in FORGERIES.items()
        if arrives(b, lambda make=make: a.send_frame(make(a, b)), NEEDLE, 0.15)
    ]  # fmt: skip
    assert passed == []
    fdb = host.run("bridge", "fdb", "show", "br", bridge_name(a.port.network_id)).stdout
    assert OTHER_MAC not in fdb  # the bridge did not learn it either

    host.change_port(a, port_security_enabled=False, security_rules=())
    host.settle()
    dropped = [
        name for name, make in FORGERIES.items()
        if name not in ("VLAN tag", "other ethertype", "IP of the peer")
        and not arrives(b, lambda make=make: a.send_frame(make(a, b)), NEEDLE, 1.0)
    ]  # fmt: skip
    assert dropped == []  # proves that it was the filter, not a broken frame


def test_allowed_address_pairs_widen_exactly_that(host: Host, pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    pairs = (AddressPair("10.0.0.64/28"), AddressPair("10.0.9.9", OTHER_MAC))
    host.change_port(a, allowed_address_pairs=pairs)
    host.settle()

    def passes(**changes: str) -> bool:
        return arrives(b, lambda: a.send_frame(udp(a, b, **changes)), NEEDLE)

    assert passes(source="10.0.0.70")
    assert passes(source="10.0.9.9", source_mac=OTHER_MAC)
    assert not passes(source="10.0.9.9")
    assert not passes(source="10.0.0.70", source_mac=OTHER_MAC)
    assert not passes(source="10.0.0.80")
    host.change_port(a, allowed_address_pairs=(AddressPair("0.0.0.0/0"), AddressPair("::/0")))
    host.settle()
    assert passes(source="172.16.0.1")


def test_guests_cannot_reach_the_host_through_its_bridges(host: Host, pair: tuple[Guest, Guest]) -> None:
    a, _b = pair
    host.batch(["link add dum0 type veth peer name dum1", "addr add 10.0.0.200/32 dev dum0", "link set dum0 up"])
    bridge = host.links()[bridge_name(a.port.network_id)]
    a.run("ip", "neigh", "add", "10.0.0.200", "lladdr", bridge["address"], "dev", "eth0")
    assert not a.pings("10.0.0.200", wait_s=0.5)
    assert "fe80" not in host.ip("addr", "show", "dev", bridge["ifname"])


def test_rules_of_many_ports_load_in_bounded_time(host: Host, pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    network = host.networks[a.port.network_id]
    members = tuple(f"10.0.{high}.{low}/32" for high in range(4) for low in range(100))
    for number in range(60):
        host.add_port(network, f"10.0.5.{number}/24", rules=(*EGRESS_ALL, rule("ingress", "tcp", 22, 22, members)))
    host.settle()
    assert a.pings(b.ip)
    wait_until("all chains", lambda: host.run("iptables-save").stdout.count("--physdev-in tap") == 62)


def test_the_hosts_own_address_translation_does_not_touch_guests(host: Host, pair: tuple[Guest, Guest]) -> None:
    a, b = pair
    host.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "10.0.0.0/8", "!", "-o", "docker0", "-j", "MASQUERADE")
    host.run("iptables", "-t", "nat", "-A", "PREROUTING", "-d", b.ip, "-p", "tcp", "-j", "DNAT", "--to", "10.0.0.99")
    with b.listen(80), a.connect(b.ip, 80) as flow:
        assert first_line(flow) == a.ip
