"""The stock client's journey through a lab of several hosts, and what guests, wires and the internet show of it."""

from __future__ import annotations

import json
from typing import Any

from pileus.lab.addresses import NETWORKS, SITE
from tests.lab.rehearsal import GUEST_IMAGE, Rehearsal, until
from tests.lab.wire import Tap

KEY = "/etc/openstack/journey.pem"
ICMP = 1
SSH = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o",
       "BatchMode=yes", "-o", "ConnectTimeout=5")
METADATA = "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json"


class Journey:
    """What it has made. `servers`: name -> the stock client's view; `addresses`: name -> (fixed, floating)."""

    def __init__(self, lab: Rehearsal) -> None:
        self.lab = lab
        self.servers: dict[str, dict[str, Any]] = {}
        self.addresses: dict[str, tuple[str, str]] = {}

    def prepare(self) -> None:
        """Image, flavor, networks, router, security group, key."""
        lab = self.lab
        lab.stock("image", "create", "guest", "--disk-format", "qcow2", "--file", str(GUEST_IMAGE), "--public")
        lab.stock("flavor", "create", "nano", "--ram", "128", "--disk", "1", "--vcpus", "1")
        lab.stock(
            "network", "create", "outside", "--external", "--provider-network-type", "flat",
            "--provider-physical-network", "public",
        )
        lab.stock(
            "subnet", "create", "outside", "--network", "outside", "--subnet-range", str(NETWORKS["external"]),
            "--gateway", str(NETWORKS["external"][1]), "--no-dhcp", "--allocation-pool",
            f"start={NETWORKS['external'][10]},end={NETWORKS['external'][200]}",
        )
        lab.stock("network", "create", "inside")
        lab.stock("subnet", "create", "inside", "--network", "inside", "--subnet-range", "10.7.0.0/24")
        lab.stock("router", "create", "r", "--external-gateway", "outside")
        lab.do("router", "add", "subnet", "r", "inside")
        lab.stock("security", "group", "create", "open")
        lab.stock("security", "group", "rule", "create", "--protocol", "icmp", "open")
        lab.stock("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "22", "open")
        lab.shell("admin", "sh", "-c", f"umask 77; openstack keypair create journey > {KEY}")

    def boot(self, *names: str, on: str | None = None) -> None:
        """Servers, each with a floating address, up to their first answer by ssh. on: the host."""
        for name in names:
            made = self.lab.stock(
                "server", "create", name, "--image", "guest", "--flavor", "nano", "--network", "inside",
                "--security-group", "open", "--key-name", "journey",
                *(() if on is None else ("--availability-zone", f"nova:{on}")),
            )
            self.servers[name] = made
        for name in names:
            self.servers[name] = until(lambda name=name: self.ended(name), f"server {name}")
            floating = self.lab.stock("floating", "ip", "create", "outside")["floating_ip_address"]
            self.lab.do("server", "add", "floating", "ip", name, floating)
            self.addresses[name] = (self.servers[name]["addresses"]["inside"][0], floating)
        for name in names:
            until(lambda name=name: self.inside(name, "hostname", check=False).strip() == name, f"ssh to {name}")

    def host(self, name: str) -> str:
        """On which host a server is."""
        return self.servers[name]["OS-EXT-SRV-ATTR:hypervisor_hostname"]

    def inside(self, name: str, command: str, *, check: bool = True) -> str:
        """What a command in a guest says, over the internet."""
        login = ("ssh", "-i", KEY, *SSH, f"root@{self.addresses[name][1]}")
        return self.lab.shell("internet", *login, command, check=check)

    def everything_works(self, one: str, other: str) -> None:
        """Two guests on different hosts: metadata, DHCP, each other over VXLAN with the right VNI, the internet."""
        lab = self.lab
        assert self.host(one) != self.host(other)
        for name in (one, other):
            assert json.loads(self.inside(name, METADATA))["uuid"] == self.servers[name]["id"]
            assert self.addresses[name][0] in self.inside(name, "ip -4 address show eth0")  # by DHCP
            assert lab.pings("internet", self.addresses[name][1])
            assert " 0% packet loss" in self.inside(name, f"ping -c 2 {SITE}")
        vni = lab.stock("network", "show", "inside")["provider:segmentation_id"]
        with Tap(lab.labs / lab.name, self.host(one), 1) as tap:
            assert " 0% packet loss" in self.inside(one, f"ping -c 3 {self.addresses[other][0]}")
        pings = [
            packet for packet in tap.packets
            if packet.get("protocol") == ICMP and {packet["from"], packet["to"]} == {
                self.addresses[one][0], self.addresses[other][0]
            }
        ]
        assert len(pings) >= 6, tap.packets
        assert {packet["vni"] for packet in pings} == {vni}
        assert all(packet["source"].startswith("10.21.0.") for packet in pings)

    def delete_all(self) -> None:
        """Everything it has made, servers first; nothing refuses to go."""
        lab = self.lab
        for name, (_fixed, floating) in self.addresses.items():
            lab.do("floating", "ip", "delete", floating)
            lab.do("server", "delete", name, "--wait")
        lab.do("router", "remove", "subnet", "r", "inside")
        lab.do("router", "delete", "r")
        lab.do("network", "delete", "inside", "outside")
        assert lab.stock("server", "list") == []
        assert lab.stock("network", "list") == []

    def ended(self, name: str) -> dict[str, Any] | None:
        """A server once it is ACTIVE, None before."""
        found = self.lab.stock("server", "show", name)
        assert found["status"] != "ERROR", found.get("fault")
        return found if found["status"] == "ACTIVE" else None
