"""Networks reach from host to host, stay apart, survive restarts, and leave nothing behind."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from uuid import uuid4

import msgspec

from pileus.services.network.rpc import HostNetwork, bridge_name

from .plane import Guest, Host, call_in, rule, vxlan_network, wait_until, with_peers

ANY = (rule("egress"), rule("ingress"))
SLOW_PASS_S = 60.0


def test_guests_on_two_hosts_talk_over_vxlan_with_the_right_vni(two_hosts: tuple[Host, Host]) -> None:
    first, second = two_hosts
    network = vxlan_network(7001, "192.0.2.2")
    first.add_network(network)
    second.add_network(with_peers(network, "192.0.2.1"))
    a = first.add_port(network, "10.0.0.1/24", rules=ANY).plug()
    b = second.add_port(network, "10.0.0.2/24", rules=ANY).plug()
    first.start_agent()
    second.start_agent()
    first.wait_active(a)
    second.wait_active(b)

    def sniff() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.bind(("u0", 0))
        sock.settimeout(1)
        return sock

    with call_in(f"/proc/{second.pid}/ns/net", sniff) as sock:
        assert a.pings("10.0.0.2", wait_s=3)
        vnis = set()
        for _ in range(4):
            frame = sock.recv(4096)
            if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[36:38] == (4789).to_bytes(2, "big"):
                vnis.add(int.from_bytes(frame[46:49], "big"))
        assert vnis == {7001}


def test_equal_addresses_in_two_networks_stay_apart(host: Host) -> None:
    host.tunnel_ip = "192.0.2.1"
    one, two = host.add_network(vxlan_network(11)), host.add_network(vxlan_network(12))
    a1 = host.add_port(one, "10.0.0.1/24", rules=ANY).plug()
    b1 = host.add_port(one, "10.0.0.2/24", rules=ANY).plug()
    a2 = host.add_port(two, "10.0.0.1/24", rules=ANY).plug()
    b2 = host.add_port(two, "10.0.0.2/24", rules=ANY).plug()
    c2 = host.add_port(two, "10.0.0.3/24", rules=ANY).plug()
    host.start_agent()
    host.wait_active(a1, b1, a2, b2, c2)
    with b1.listen(80), b2.listen(81):
        assert a1.reaches("10.0.0.2", 80)
        assert not a1.reaches("10.0.0.2", 81)
        assert a2.reaches("10.0.0.2", 81)
        assert not a2.reaches("10.0.0.2", 80)
    assert c2.pings("10.0.0.1")
    assert not a1.pings("10.0.0.3", wait_s=0.5)


def test_restart_of_the_agent_drops_no_packet(host: Host) -> None:
    host.tunnel_ip = "192.0.2.1"
    network = host.add_network(vxlan_network(21))
    a = host.add_port(network, "10.0.0.1/24", rules=(rule("egress"),)).plug()
    b = host.add_port(network, "10.0.0.2/24", rules=(rule("ingress", "icmp"),)).plug()
    host.start_agent()
    host.wait_active(a, b)
    assert a.pings(b.ip)
    before = {name: link["ifindex"] for name, link in host.links().items()}
    ping = subprocess.Popen(
        host.argv("nsenter", f"--net=/run/netns/{a.name}", "ping", "-n", "-i", "0.01", "-c", "250", "-W", "1", b.ip),
        stdout=subprocess.PIPE,
        text=True,
    )
    for number in (signal.SIGKILL, signal.SIGTERM):
        host.stop_agent(number)
        (host.directory / "reports.json").unlink()
        host.start_agent()
        host.wait_active(a, b)
    output, _ = ping.communicate(timeout=20)
    assert re.search(r"250 packets transmitted, 250 received, 0% packet loss", output), output
    assert {name: link["ifindex"] for name, link in host.links().items()} == before


def test_what_is_removed_by_hand_comes_back(host: Host) -> None:
    host.tunnel_ip = "192.0.2.1"
    network = host.add_network(vxlan_network(31, "192.0.2.9"))
    a = host.add_port(network, "10.0.0.1/24").plug()
    b = host.add_port(network, "10.0.0.2/24", rules=(rule("ingress", "icmp"),)).plug()
    host.start_agent()
    host.wait_active(a, b)
    assert a.pings(b.ip)

    host.ip("link", "del", bridge_name(network.id))
    wait_until("the bridge is back", lambda: a.pings(b.ip, wait_s=0.3))
    host.ip("link", "del", "vxlan-31")
    wait_until("vxlan is back", lambda: host.links().get("vxlan-31", {}).get("master") == bridge_name(network.id))
    wait_until("flood entry", lambda: "192.0.2.9" in host.run("bridge", "fdb", "show", "dev", "vxlan-31").stdout)

    host.run("nft", "flush", "ruleset")  # iptables and anti-spoofing, all gone
    wait_until("security group denies again", lambda: not can_enter(a, b))
    b.run("ip", "addr", "add", "10.0.0.99/24", "dev", "eth0")
    assert b.run("ping", "-c1", "-W0.5", "-I", "10.0.0.99", a.ip).returncode != 0
    assert a.pings(b.ip)


def can_enter(client: Guest, server: Guest) -> bool:
    with server.listen(5000):
        return client.reaches(server.ip, 5000)


def test_everything_of_ours_goes_and_nothing_foreign_is_touched(host: Host) -> None:
    host.tunnel_ip = "192.0.2.1"
    host.batch(["link add brqforeign00 type bridge", "link add vxlan-99 type vxlan id 99 dstport 4789",
                "link add docker0 type bridge"])  # fmt: skip
    host.run("iptables", "-A", "FORWARD", "-s", "198.51.100.1", "-j", "ACCEPT")
    clean_links = set(host.links())
    network = host.add_network(vxlan_network(41))
    a = host.add_port(network, "10.0.0.1/24").plug()
    host.start_agent()
    host.wait_active(a)
    a.unplug()
    host.ports.clear()
    host.networks.clear()
    host.publish()
    wait_until("devices gone", lambda: set(host.links()) == clean_links)

    def leftovers() -> list[str]:
        rules = host.run("iptables-save").stdout + host.run("ip6tables-save").stdout
        return [line for line in rules.splitlines() if a.port.id[:11] in line or "CT --zone" in line]

    wait_until("rules gone", lambda: not leftovers())
    assert "198.51.100.1" in host.run("iptables-save").stdout
    assert a.port.id[:11].replace("-", "_") not in host.run("nft", "list", "ruleset").stdout


def test_port_that_cannot_be_carried_says_why_and_stops_no_other(host: Host) -> None:
    host.tunnel_ip = "192.0.2.1"
    host.batch(["link add eth9 type veth peer name eth8", "link set eth9 up", "link set eth8 up"])
    host.physical_networks = {"vlans": "eth9"}
    good = host.add_network(vxlan_network(51))
    vlan = host.add_network(
        HostNetwork(id=str(uuid4()), network_type="vlan", physical_network="vlans", segmentation_id=100)
    )
    nowhere = host.add_network(HostNetwork(id=str(uuid4()), network_type="flat", physical_network="nowhere"))
    a = host.add_port(good, "10.0.0.1/24").plug()
    v = host.add_port(vlan, "10.0.1.1/24").plug()
    n = host.add_port(nowhere, "10.0.2.1/24").plug()
    bad = host.add_port(good, "10.0.0.2/24").plug()
    host.change_port(bad, mac_address='x" drop; flush ruleset')
    host.start_agent()
    host.wait_active(a)
    reports = host.reports()["ports"]
    assert reports[n.port.id]["status"] == "ERROR"
    assert "nowhere" in reports[n.port.id]["reason"]
    assert reports[bad.port.id]["status"] == "ERROR"
    assert "MAC" in reports[bad.port.id]["reason"]
    if reports[v.port.id]["status"] != "ACTIVE":  # a kernel with 8021q carries it
        assert reports[v.port.id]["status"] == "ERROR"
        assert "vlan" in reports[v.port.id]["reason"]
    assert reports[a.port.id]["status"] == "ACTIVE"


def test_device_that_appears_later_is_connected_at_once(host: Host) -> None:
    host.tunnel_ip = "192.0.2.1"
    network = host.add_network(vxlan_network(61, mtu=1400))
    a = host.add_port(network, "10.0.0.1/24")
    host.start_agent(pass_every_s=SLOW_PASS_S)
    wait_until("reported down", lambda: host.reports().get("ports", {}).get(a.port.id, {}).get("status") == "DOWN")
    a.plug()
    began = time.monotonic()
    host.wait_active(a)
    # Told by the kernel: the next pass by time is much further away.
    assert time.monotonic() - began < SLOW_PASS_S / 2
    assert host.links()[a.port.device_name]["mtu"] == 1400
    tap = host.add_port(network, "10.0.0.2/24")
    host.batch([f"tuntap add dev {tap.port.device_name} mode tap vnet_hdr"])  # as compute makes it, no guest yet
    host.settle()
    wait_until("tap is active", lambda: host.reports()["ports"][tap.port.id]["status"] == "ACTIVE")
    assert host.links()[tap.port.device_name]["master"] == bridge_name(network.id)
    host.networks[network.id] = msgspec.structs.replace(network, admin_state_up=False)
    host.publish()
    wait_until("network down", lambda: host.reports()["ports"][tap.port.id]["status"] == "DOWN")
    host.networks[network.id] = network
    host.settle()
    wait_until("network up", lambda: host.reports()["ports"][a.port.id]["status"] == "ACTIVE")
    host.change_port(a, admin_state_up=False)
    host.publish()
    wait_until("reported down", lambda: host.reports()["ports"][a.port.id]["status"] == "DOWN")
    assert "master" not in host.links()[a.port.device_name]
