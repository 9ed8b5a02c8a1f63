"""Leases for the right guests with the right options, metadata for nobody else."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from uuid import uuid4

import pytest

from pileus.services.network.rpc import DhcpNetwork, DhcpOption, DhcpSubnet, HostRoute

from .plane import EGRESS_ALL, Guest, Plane, dhcp_host, wait_until

SCRIPT = "#!/bin/sh\n[ \"$1\" = bound ] && env > \"$LEASE_FILE\"\nexit 0\n"


def lease(guest: Guest, directory: Path, wait_s: int = 3) -> dict[str, str]:
    """What a real DHCP client (busybox udhcpc) gets; {} for nothing."""
    script = directory / "udhcpc.sh"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    result = directory / f"lease-{uuid4()}"
    argv = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", str(wait_s), "-T", "1", "-s", str(script)]
    for option in ("router", "dns", "mtu", "staticroutes", "domain", "hostname", "lease", "bootfile", "ntpsrv"):
        argv += ["-O", option]
    guest.run("env", f"LEASE_FILE={result}", *argv)
    if not result.exists():
        return {}
    return dict(line.split("=", 1) for line in result.read_text().splitlines() if "=" in line)


class Site:
    """A network with DHCP and two guests, one of them known to DHCP."""

    def __init__(self, plane: Plane, cidr_start: str = "10.0.0") -> None:
        self.plane = plane
        self.network = plane.network()
        self.subnet = DhcpSubnet(
            id=str(uuid4()), cidr=f"{cidr_start}.0/24", gateway_ip=f"{cidr_start}.1",
            dns_nameservers=("198.51.100.53", "198.51.100.54"),
            host_routes=(HostRoute("172.16.0.0/16", f"{cidr_start}.9"),),
        )  # fmt: skip
        self.a = plane.host.add_port(self.network, f"{cidr_start}.11/24").plug(addresses=False)
        self.dhcp: DhcpNetwork = plane.dhcp(
            self.network, self.subnet, f"{cidr_start}.2/24", self.a, dns_domain="cloud.example"
        )

    def start(self) -> Site:
        self.plane.host.start_agent()
        self.settle()
        return self

    def settle(self) -> None:
        self.plane.host.settle_devices(("ports", "dhcp"))

    def change(self, **changes: object) -> None:
        self.dhcp = self.plane.change_dhcp(self.dhcp, **changes)
        self.settle()

    def dnsmasq_pid(self) -> int:
        return int(self.plane.host.run("cat", f"/run/dhcp/{self.network.id}/pid").stdout)


@pytest.fixture
def site(plane: Plane) -> Site:
    return Site(plane).start()


def test_known_guest_gets_its_lease_and_strangers_none(site: Site, directory: Path) -> None:
    got = lease(site.a, directory)
    assert got["ip"] == "10.0.0.11"
    assert got["subnet"] == "255.255.255.0"
    assert got["router"] == "10.0.0.1"
    assert got["dns"] == "198.51.100.53 198.51.100.54"
    assert got["mtu"] == "1450"
    assert got["domain"] == "cloud.example"
    assert got["lease"] == "86400"
    assert got["staticroutes"] == "172.16.0.0/16 10.0.0.9 169.254.169.254/32 10.0.0.2 0.0.0.0/0 10.0.0.1"
    site.plane.host.batch(["addr add 10.0.0.11/24 dev eth0"], site.a.name)
    found = site.a.run("busybox", "nslookup", f"vm-{site.a.port.id[:4]}.cloud.example", "10.0.0.2").stdout
    assert "10.0.0.11" in found
    stranger = site.plane.host.add_port(site.network, "10.0.0.12/24").plug(addresses=False)
    site.settle()
    assert lease(stranger, directory, 1) == {}
    before = site.dnsmasq_pid()
    site.change(hosts=(*site.dhcp.hosts, dhcp_host(stranger)))
    assert lease(stranger, directory)["ip"] == "10.0.0.12"
    assert site.dnsmasq_pid() == before  # reloaded, not restarted


def test_address_of_a_deleted_port_goes_to_its_new_owner(site: Site, directory: Path) -> None:
    assert lease(site.a, directory)["ip"] == "10.0.0.11"
    new = site.plane.host.add_port(site.network, "10.0.0.11/24").plug(addresses=False)
    site.a.unplug()
    del site.plane.host.ports[site.a.port.id]
    site.change(hosts=(dhcp_host(new),))
    assert lease(new, directory)["ip"] == "10.0.0.11"


def test_hostile_options_are_left_out_and_stop_nobody(site: Site, directory: Path) -> None:
    hostile = (
        DhcpOption("bootfile-name", "pxelinux.0"),
        DhcpOption("bootfile-name", "x\ndhcp-script=/bin/sh"),
        DhcpOption("router\ndhcp-script", "/bin/sh"),
        DhcpOption("dhcp-script", "/bin/sh"),
        DhcpOption("no-such-option", "1"),
        DhcpOption("ntp-server", "not-an-address"),
        DhcpOption("0", "x"),
        DhcpOption("255", "x"),
        DhcpOption("mtu", "x" * 300),
    )
    bad_name = dhcp_host(site.a, hostname="x\n,set:evil", extra_options=hostile)
    other = site.plane.host.add_port(site.network, "10.0.0.12/24").plug(addresses=False)
    site.change(hosts=(bad_name, dhcp_host(other)))
    assert lease(site.a, directory)["ip"] == "10.0.0.11"
    assert lease(other, directory)["ip"] == "10.0.0.12"
    written = f"/run/dhcp/{site.network.id}"
    files = site.plane.host.run("cat", f"{written}/hosts", f"{written}/options")
    assert "dhcp-script" not in files.stdout
    assert "evil" not in files.stdout
    assert "no-such-option" in site.plane.host.reports()["dhcp"][site.network.id]["reason"]
    # A fresh start must cope with the same files.
    site.plane.host.run("kill", "-9", str(site.dnsmasq_pid()))
    wait_until("dnsmasq is back", lambda: site_answers(site, directory))


def site_answers(site: Site, directory: Path) -> bool:
    return lease(site.a, directory, 1).get("ip") == "10.0.0.11"


def test_dead_or_removed_dhcp_is_repaired(site: Site, directory: Path) -> None:
    host = site.plane.host
    old = site.dnsmasq_pid()
    host.run("kill", "-9", str(old))
    wait_until("another dnsmasq", lambda: site.dnsmasq_pid() != old)
    assert lease(site.a, directory)["ip"] == "10.0.0.11"
    host.ip("netns", "del", f"qdhcp-{site.network.id}")
    wait_until("namespace is back", lambda: site.network.id in host.ip("netns", "list"))
    wait_until("and serves", lambda: site_answers(site, directory))
    host.stop_agent()
    (host.directory / "reports.json").unlink()
    before = site.dnsmasq_pid()
    host.start_agent()
    site.settle()
    assert site.dnsmasq_pid() == before
    assert host.run("ps", "-C", "dnsmasq", "-o", "user=").stdout.split() == ["nobody"]


def test_removed_network_leaves_nothing(site: Site) -> None:
    host = site.plane.host
    pid = site.dnsmasq_pid()
    site.plane.set_dhcp()
    del host.ports[site.dhcp.port_id]
    host.publish()
    wait_until("namespace gone", lambda: "qdhcp-" not in host.ip("netns", "list"))
    wait_until("dnsmasq gone", lambda: host.run("test", "-d", f"/proc/{pid}", check=False).returncode != 0)
    wait_until("files gone", lambda: host.run("ls", "/run/dhcp").stdout == "")
    assert {name for name in host.links() if name.startswith("tap")} == {site.a.port.device_name}


# metadata


def fetch(guest: Guest, path: str = "/openstack", *more: str) -> tuple[int, dict[str, object]]:
    done = guest.run("curl", "-s", "-m", "3", "-w", "\n%{http_code}", *more, f"http://169.254.169.254{path}")
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), json.loads(body) if body.startswith("{") else {}


def test_metadata_tells_each_guest_its_own_whatever_it_claims(plane: Plane) -> None:
    host = plane.host
    one, two = Site(plane), Site(plane)  # the same addresses in two networks
    for site, name in ((one, "first"), (two, "second")):
        host.metadata[f"{site.network.id}/10.0.0.11"] = name
        host.batch(["addr add 10.0.0.11/24 dev eth0", "route add 169.254.169.254 via 10.0.0.2"], site.a.name)
    stranger = host.add_port(one.network, "10.0.0.12/24").plug()
    host.batch(["route add 169.254.169.254 via 10.0.0.2"], stranger.name)
    one.start()
    assert fetch(one.a)[1]["name"] == "first"
    assert fetch(two.a)[1]["name"] == "second"
    assert fetch(stranger)[0] == 404
    forged = ["-H", "X-Forwarded-For: 10.0.0.11", "-H", "X-Instance-ID: other", "-H", "X_Tenant_ID: other"]
    assert fetch(stranger, "/", *forged)[0] == 404
    status, answer = fetch(two.a, "/openstack/latest?x=1", *forged, "-H", "X-Honest: yes")
    assert status == 200
    assert answer["name"] == "second"
    assert answer["path"] == "/openstack/latest?x=1"
    headers = answer["headers"]
    assert isinstance(headers, dict)
    assert headers["x-honest"] == "yes"
    assert not [name for name in headers if re.search("forwarded|instance|tenant", name)]
    assert fetch(one.a, "/", "--data-binary", "posted")[1]["body"] == "posted"
    big = host.directory / "big"
    big.write_bytes(os.urandom(200_000))
    assert fetch(one.a, "/", "-H", "Expect:", "--data-binary", f"@{big}")[0] in (413, 0)
    assert fetch(one.a)[0] == 200


def test_metadata_through_a_router(plane: Plane) -> None:
    host = plane.host
    network = plane.network()
    guest = host.add_port(network, "10.0.0.11/24", rules=EGRESS_ALL).plug(gateway="10.0.0.1")
    router = plane.router((network, "10.0.0.1/24"), gateway="203.0.113.10/24")
    outsider = plane.outsider()
    host.metadata[f"{router.id}/10.0.0.11"] = "routed"
    host.start_agent()
    host.settle(("ports", "routers"))
    host.wait_active(guest)
    wait_until("metadata answers", lambda: fetch(guest)[0] == 200)
    assert fetch(guest)[1]["name"] == "routed"
    assert not outsider.reaches("203.0.113.10", 9697)
