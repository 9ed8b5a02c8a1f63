"""The unmodified `openstack` command against the network API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cloud import Cloud

SERVICES = ("identity", "network")
TIMEOUT_S = 60
CLIENT = Path(sys.executable).parent / "openstack"

pytestmark = pytest.mark.skipif(not CLIENT.exists(), reason="python-openstackclient is not installed")


class Stock:
    """Runs several commands in one interactive session of the client, which saves its start-up time."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def run(self, *lines: str) -> str:
        """The output of commands, errors included."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        login = {
            "OS_AUTH_URL": self.cloud.url + "/identity/v3", "OS_USERNAME": "admin",
            "OS_PASSWORD": self.cloud.admin_password, "OS_PROJECT_NAME": "admin", "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default", "OS_IDENTITY_API_VERSION": "3", "COLUMNS": "4000",
        }  # fmt: skip
        done = subprocess.run(
            [str(CLIENT)], input="\n".join([*lines, "quit"]) + "\n", env=plain | login, capture_output=True, text=True,
            timeout=TIMEOUT_S,
        )  # fmt: skip
        return done.stdout + done.stderr

    def one(self, line: str) -> Any:
        """The JSON that one command prints."""
        found = self.run(line + " -f json")
        start = min(at for at in (found.find("{"), found.find("[")) if at >= 0) if set("{[") & set(found) else -1
        assert start >= 0, found
        return json.JSONDecoder().raw_decode(found[start:])[0]


@pytest.fixture
def stock(cloud: Cloud) -> Stock:
    return Stock(cloud)


def test_a_project_network_from_nothing_to_nothing(stock: Stock) -> None:
    made = stock.run(
        "network create --tag blue --mtu 1400 --dns-domain example.org. net1",
        "network create --external --provider-network-type flat --provider-physical-network public ext1",
        "subnet create --network net1 --subnet-range 10.0.0.0/24 --dns-nameserver 9.9.9.9 sub1",
        "subnet create --network ext1 --subnet-range 203.0.113.0/24 --no-dhcp "
        "--allocation-pool start=203.0.113.10,end=203.0.113.99 --gateway 203.0.113.1 extsub1",
        "subnet create --network net1 --ip-version 6 --ipv6-ra-mode slaac --ipv6-address-mode slaac "
        "--subnet-range 2001:db8:5::/64 sub6",
        "security group create --description web web",
        "security group rule create --protocol tcp --dst-port 22 --remote-ip 0.0.0.0/0 web",
        "security group rule create --protocol icmp --icmp-type 8 --icmp-code 0 web",
        "security group rule create --ethertype IPv6 --egress --protocol udp --dst-port 53:54 web",
        "port create --network net1 --fixed-ip subnet=sub1,ip-address=10.0.0.50 --security-group web "
        "--allowed-address ip-address=10.9.0.0/24 --dns-name www --host test-host port1",
        "router create router1",
        "router set --external-gateway ext1 router1",
        "router add subnet router1 sub1",
        "floating ip create --port port1 ext1",
        "router add route --route destination=192.168.0.0/16,gateway=10.0.0.50 router1",
        "router set --disable-snat --external-gateway ext1 router1",
        "port set --name port2 --extra-dhcp-option name=mtu,value=1300 port1",
        "network set --description changed --tag green net1",
        "subnet set --no-dns-nameservers --name sub1b sub1",
        "network set --share net1",
    )
    assert "Exception" not in made, made
    assert "rror" not in made, made
    assert "not found" not in made, made
    net = stock.one("network show net1")
    assert (net["mtu"], net["description"], set(net["tags"])) == (1400, "changed", {"blue", "green"})
    assert (net["provider:network_type"], net["router:external"], net["shared"]) == ("vxlan", False, True)
    port = stock.one("port show port2")
    assert (port["device_owner"], port["binding_host_id"], port["mac_address"][:9]) == ("", "test-host", "fa:16:3e:")
    assert "10.0.0.50" in {address["ip_address"] for address in port["fixed_ips"]}
    router = stock.one("router show router1")
    assert router["external_gateway_info"]["enable_snat"] is False
    assert router["routes"][0]["nexthop"] == "10.0.0.50"
    (floating,) = stock.one("floating ip list")
    assert (floating["Fixed IP Address"], floating["Port"]) == ("10.0.0.50", port["id"])
    rules = stock.one("security group rule list web")
    assert {(rule["IP Protocol"], rule["Port Range"]) for rule in rules} >= {("tcp", "22:22"), ("udp", "53:54")}
    lists = stock.run(
        "network list --long", "subnet list --long", "port list --long", "router list --long", "network agent list",
        "security group list", "extension list --network", "availability zone list --network",
        "network list --tags blue", "port list --router router1", "port list --fixed-ip ip-address=10.0.0.50",
        "quota show --network", "ip availability list", "ip availability show net1", "network list --external",
        "network list --agent none",
    )  # fmt: skip
    for expected in ("net1", "sub1b", "port2", "router1", "Linux bridge agent", "web", "extraroute", "nova"):
        assert expected in lists
    gone = stock.run(
        "floating ip unset --port " + floating["ID"],
        "floating ip set --port port2 " + floating["ID"],
        "floating ip delete " + floating["ID"],
        "router remove route --route destination=192.168.0.0/16,gateway=10.0.0.50 router1",
        "router remove subnet router1 sub1b",
        "router unset --external-gateway router1",
        "router delete router1",
        "port delete port2",
        "network delete net1 ext1",
        "security group delete web",
    )
    assert "rror" not in gone, gone
    assert "ailed" not in gone, gone
    for command in ("network list", "subnet list", "port list", "router list", "floating ip list"):
        assert stock.one(command) == [], command


def test_errors_arrive_in_words(stock: Stock) -> None:
    said = stock.run(
        "network create one", "subnet create --network one --subnet-range 10.0.0.0/24 a",
        "subnet create --network one --subnet-range 10.0.0.0/25 b",
        "port create --network one --fixed-ip ip-address=10.9.9.9 p",
        "port create --network one --mac-address fa:16:3e:00:00:01 --device-owner compute:nova x", "network delete one",
        "port delete x", "network delete one",
    )  # fmt: skip
    assert "overlaps with another subnet" in said
    assert "IP address 10.9.9.9 is not a valid IP for any of the subnets on the specified network" in said
    assert "There are one or more ports still in use on the network" in said
    assert stock.one("network list") == []


def test_quotas_through_the_client(stock: Stock) -> None:
    project = stock.one("token issue")["project_id"]
    stock.run(f"quota set --ports 7 --networks 3 {project}")
    shown = {row["Resource"]: row["Limit"] for row in stock.one(f"quota show --network {project}")}
    assert (shown["ports"], shown["networks"]) == (7, 3)
    stock.run(f"quota delete --network {project}")
    assert {row["Resource"]: row["Limit"] for row in stock.one("quota show --network")}["ports"] == 500
