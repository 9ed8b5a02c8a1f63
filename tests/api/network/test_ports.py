"""Ports: addresses, protection, binding, and who may do what with them."""

from __future__ import annotations

import concurrent.futures
import ipaddress
from typing import Any

import pytest

from cloud import Cloud
from pileus.services.network.rpc import PortStatusChanged

from .client import Caller, eventually

SERVICES = ("identity", "network")


def test_a_port_gets_an_address_a_mac_and_the_default_group(alice: Caller) -> None:
    network, subnet = alice.wired("10.0.0.0/24")
    port = alice.make("ports", network_id=network["id"], name="p", device_id="d", device_owner="compute:nova")
    (address,) = port["fixed_ips"]
    assert address["subnet_id"] == subnet["id"]
    assert ipaddress.ip_address(address["ip_address"]) in ipaddress.ip_network("10.0.0.0/24")
    assert address["ip_address"] != "10.0.0.1"
    assert port["mac_address"].startswith("fa:16:3e:")
    (group,) = alice.list("security-groups")
    assert (group["name"], port["security_groups"]) == ("default", [group["id"]])
    assert (port["status"], port["port_security_enabled"], port["binding:vnic_type"]) == ("DOWN", True, "normal")
    assert "binding:host_id" not in port
    assert "binding:vif_type" not in port
    assert port["dns_assignment"][0]["fqdn"].endswith(".openstacklocal.")


def test_addresses_and_macs_that_were_asked_for_are_given_once(alice: Caller) -> None:
    network, subnet = alice.wired("10.0.0.0/24")
    wanted = {"network_id": network["id"], "mac_address": "FA:16:3E:00:00:01"}
    wanted["fixed_ips"] = [{"ip_address": "10.0.0.9"}]
    port = alice.make("ports", **wanted)
    assert (port["mac_address"], port["fixed_ips"][0]["ip_address"]) == ("fa:16:3e:00:00:01", "10.0.0.9")
    alice.error("POST", "ports", {"port": wanted}, 409, "MacAddressInUse")
    wanted["mac_address"] = "fa:16:3e:00:00:02"
    alice.error("POST", "ports", {"port": wanted}, 409, "IpAddressAlreadyAllocated")
    for fixed, kind in (
        ([{"ip_address": "10.7.0.1"}], "InvalidIpForNetwork"),
        ([{"ip_address": "10.0.0.255"}], "InvalidIpForSubnet"),
        ([{"ip_address": "10.0.0.0", "subnet_id": subnet["id"]}], "InvalidIpForSubnet"),
        ([{"subnet_id": network["id"]}], "InvalidInput"),
        ([{"ip_address": "x"}], "HTTPBadRequest"),
        ([{}], "InvalidInput"),
        ("10.0.0.5", "HTTPBadRequest"),
        ([{"ip_address": "10.0.0.5", "extra": 1}], "HTTPBadRequest"),
    ):
        alice.error("POST", "ports", {"port": {"network_id": network["id"], "fixed_ips": fixed}}, 400, kind)
    for mac in ("01:00:5e:00:00:01", "rubbish", "00:00:00:00:00:00"):
        alice.error("POST", "ports", {"port": {"network_id": network["id"], "mac_address": mac}}, 400, "HTTPBadRequest")
    none = alice.make("ports", network_id=network["id"], fixed_ips=[])
    assert none["fixed_ips"] == []


def test_updated_addresses_are_taken_and_given_back(alice: Caller) -> None:
    network, subnet = alice.wired("10.0.0.0/24")
    port = alice.make("ports", network_id=network["id"], fixed_ips=[{"ip_address": "10.0.0.9"}])
    both = [{"ip_address": "10.0.0.9"}, {"ip_address": "10.0.0.10"}]
    changed = alice.set("ports", port["id"], fixed_ips=both)
    assert [a["ip_address"] for a in changed["fixed_ips"]] == ["10.0.0.9", "10.0.0.10"]
    kept = alice.set("ports", port["id"], fixed_ips=[{"subnet_id": subnet["id"]}])
    assert len(kept["fixed_ips"]) == 1
    other = alice.make("ports", network_id=network["id"], fixed_ips=[{"ip_address": "10.0.0.10"}])
    body = {"port": {"fixed_ips": [{"ip_address": "10.0.0.9"}, {"ip_address": "10.0.0.10"}]}}
    alice.error("PUT", f"ports/{port['id']}", body, 409, "IpAddressAlreadyAllocated")
    assert alice.list("ports", fixed_ips="ip_address=10.0.0.10")[0]["id"] == other["id"]
    assert {p["id"] for p in alice.list("ports", fixed_ips=f"subnet_id={subnet['id']}", device_owner="")} == {
        port["id"], other["id"],
    }  # fmt: skip


def test_slaac_subnets_add_the_address_that_the_guest_makes(alice: Caller) -> None:
    network, _ = alice.wired("10.0.0.0/24")
    alice.make(
        "subnets", network_id=network["id"], ip_version=6, cidr="2001:db8:1::/64", ipv6_ra_mode="slaac",
        ipv6_address_mode="slaac",
    )  # fmt: skip
    port = alice.make("ports", network_id=network["id"], mac_address="fa:16:3e:12:34:56")
    assert {a["ip_address"] for a in port["fixed_ips"]} >= {"2001:db8:1:0:f816:3eff:fe12:3456"}
    assert len(port["fixed_ips"]) == 2


def test_a_subnet_can_be_kept_for_a_kind_of_port(alice: Caller, admin: Caller) -> None:
    network, plain = alice.wired("10.0.0.0/24")
    kept = admin.make(
        "subnets", network_id=network["id"], ip_version=4, cidr="10.1.0.0/24", service_types=["compute:special"]
    )
    ordinary = alice.make("ports", network_id=network["id"], device_owner="compute:nova")
    special = alice.make("ports", network_id=network["id"], device_owner="compute:special")
    assert [a["subnet_id"] for a in ordinary["fixed_ips"]] == [plain["id"]]
    assert [a["subnet_id"] for a in special["fixed_ips"]] == [kept["id"]]


def test_a_hundred_ports_at_once_get_a_hundred_addresses_and_then_there_are_none(alice: Caller, cloud: Cloud) -> None:
    network = alice.make("networks", name="crowd")
    alice.make("subnets", network_id=network["id"], ip_version=4, cidr="10.0.0.0/25")
    body = {"port": {"network_id": network["id"]}}

    def create(_: int) -> Any:
        return Caller(cloud, alice.token).send("POST", "ports", body)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(create, range(100)))
    assert {answer.status_code for answer in answers} == {201}
    eventually(lambda: alice.list("ports", device_owner="network:dhcp"))
    ports = alice.list("ports")
    addresses = [address["ip_address"] for port in ports for address in port["fixed_ips"]]
    assert len(set(addresses)) == len(addresses) >= 100
    free = 126 - 1 - len(addresses)
    alice.ok("POST", "ports", {"ports": [body["port"]] * free}, 201)
    message = alice.error("POST", "ports", body, 409, "IpAddressGenerationFailure")
    assert network["id"] in message
    last = alice.list("ports", device_owner="")[0]
    alice.drop("ports", last["id"])
    again = alice.make("ports", network_id=network["id"])
    assert again["fixed_ips"][0]["ip_address"] == last["fixed_ips"][0]["ip_address"]


def test_first_uses_at_once_make_one_default_group(alice: Caller, cloud: Cloud) -> None:
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: Caller(cloud, alice.token).list("security-groups"), range(20)))
    assert [group["name"] for group in alice.list("security-groups")] == ["default"]


def test_a_bound_port_becomes_active_and_says_so(alice: Caller, admin: Caller, cloud: Cloud) -> None:
    eventually(lambda: len(admin.list("agents")) >= 3)
    told: list[PortStatusChanged] = []

    async def listen(event: PortStatusChanged) -> None:
        told.append(event)

    assert cloud.node is not None
    stop = cloud.node.bus.subscribe(PortStatusChanged, listen)
    network, _ = alice.wired("10.0.0.0/24")
    port = alice.make("ports", network_id=network["id"], device_id="server-1", device_owner="compute:nova")
    bound = admin.set("ports", port["id"], binding__host_id="test-host", binding__profile={"a": 1})
    assert (bound["binding:vif_type"], bound["binding:host_id"]) == ("bridge", "test-host")
    assert bound["binding:vif_details"]["bridge_name"] == f"brq{network['id'][:11]}"
    eventually(lambda: alice.get("ports", port["id"])["status"] == "ACTIVE")
    assert ("ACTIVE", "server-1") in {(event.status, event.device_id) for event in told}
    admin.set("ports", port["id"], binding__host_id="", device_id="")
    eventually(lambda: alice.get("ports", port["id"])["status"] == "DOWN")
    alice.drop("ports", port["id"])
    eventually(lambda: any(event.status == "DELETED" for event in told))
    stop()


def test_a_network_with_guests_gets_a_dhcp_port(alice: Caller, admin: Caller) -> None:
    eventually(lambda: len(admin.list("agents", binary="pileus-dhcp-agent")) == 1)
    network, _ = alice.wired("10.0.0.0/24")
    alice.make("ports", network_id=network["id"])
    (dhcp,) = eventually(lambda: alice.list("ports", network_id=network["id"], device_owner="network:dhcp"))
    assert dhcp["device_id"].startswith("dhcp")
    eventually(lambda: alice.get("ports", dhcp["id"])["status"] == "ACTIVE")
    second = alice.make("subnets", network_id=network["id"], ip_version=4, cidr="10.5.0.0/24")
    assert len(alice.get("ports", dhcp["id"])["fixed_ips"]) == 2
    alice.drop("subnets", second["id"])
    assert len(alice.get("ports", dhcp["id"])["fixed_ips"]) == 1
    (agent,) = admin.ok("GET", f"networks/{network['id']}/dhcp-agents")["agents"]
    assert network["id"] in {n["id"] for n in admin.ok("GET", f"agents/{agent['id']}/dhcp-networks")["networks"]}


def test_protection_can_be_switched_off_only_without_groups(alice: Caller) -> None:
    network, _ = alice.wired()
    group = alice.list("security-groups")[0]["id"]
    body = {"network_id": network["id"], "port_security_enabled": False, "security_groups": [group]}
    alice.error("POST", "ports", {"port": body}, 400, "PortSecurityAndIPRequiredForSecurityGroups")
    pair = [{"ip_address": "10.9.0.0/24"}]
    body = {"network_id": network["id"], "port_security_enabled": False, "allowed_address_pairs": pair}
    alice.error("POST", "ports", {"port": body}, 409, "AddressPairAndPortSecurityRequired")
    port = alice.make("ports", network_id=network["id"], port_security_enabled=False)
    assert port["security_groups"] == []
    alice.error("PUT", f"ports/{port['id']}", {"port": {"security_groups": [group]}}, 400,
                "PortSecurityAndIPRequiredForSecurityGroups")  # fmt: skip
    changed = alice.set("ports", port["id"], port_security_enabled=True, security_groups=[group])
    assert changed["security_groups"] == [group]
    alice.error("PUT", f"ports/{port['id']}", {"port": {"security_groups": [network["id"]]}}, 404,
                "SecurityGroupNotFound")  # fmt: skip


def test_address_pairs_are_checked_and_shown_with_a_mac(alice: Caller) -> None:
    network, _ = alice.wired()
    port = alice.make("ports", network_id=network["id"], allowed_address_pairs=[{"ip_address": "10.9.0.0/24"}])
    assert port["allowed_address_pairs"] == [{"ip_address": "10.9.0.0/24", "mac_address": port["mac_address"]}]
    own = [{"ip_address": port["fixed_ips"][0]["ip_address"]}]
    path = f"ports/{port['id']}"
    alice.error("PUT", path, {"port": {"allowed_address_pairs": own}}, 400, "AddressPairMatchesPortFixedIPAndMac")
    many = [{"ip_address": f"10.9.0.{i}"} for i in range(1, 20)]
    alice.error("PUT", path, {"port": {"allowed_address_pairs": many}}, 400, "AllowedAddressPairExhausted")
    for bad in ([{"ip_address": "x"}], [{}], [{"ip_address": "10.0.0.1", "mac_address": "x"}], 5,
                [{"ip_address": "10.9.9.9"}] * 2):  # fmt: skip
        alice.error("PUT", path, {"port": {"allowed_address_pairs": bad}}, 400, "HTTPBadRequest")


# --- security.md, row 29 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        {"opt_name": "dhcp-script", "opt_value": "/bin/sh\ndhcp-script=/bin/sh"},
        {"opt_name": "tag:x,option:router", "opt_value": "10.0.0.1"},
        {"opt_name": "router\n", "opt_value": "10.0.0.1"},
        {"opt_name": "bootfile-name", "opt_value": "a\r\nb"},
        {"opt_name": "bootfile-name", "opt_value": "\x00"},
        {"opt_name": "bootfile-name", "opt_value": "é"},
        {"opt_name": "bootfile-name", "opt_value": "x" * 256},
        {"opt_name": "server-id", "opt_value": "10.0.0.66"},
        {"opt_name": "54", "opt_value": "10.0.0.66"},
        {"opt_name": "0", "opt_value": "x"},
        {"opt_name": "", "opt_value": "x"},
        {"opt_name": "mtu", "opt_value": "1", "ip_version": 5},
        {"opt_name": "mtu", "opt_value": "1", "tag": "x"},
        {"opt_name": 5, "opt_value": "x"},
        "mtu=1",
    ],
)
def test_dhcp_options_cannot_become_anything_else(alice: Caller, option: object) -> None:
    network = alice.make("networks")
    for body in ({"extra_dhcp_opts": [option]}, {"extra_dhcp_opts": option}):
        alice.error("POST", "ports", {"port": {"network_id": network["id"]} | body}, 400, "HTTPBadRequest")


@pytest.mark.parametrize("name", ["a\nb", "a b", "-a", "a" * 64, "x,id:*", "a..b", "a;b", "é"])
def test_dns_names_are_names(alice: Caller, name: str) -> None:
    network = alice.make("networks")
    alice.error("POST", "ports", {"port": {"network_id": network["id"], "dns_name": name}}, 400, "HTTPBadRequest")
    alice.error("POST", "networks", {"network": {"dns_domain": name}}, 400, "HTTPBadRequest")


def test_good_dhcp_options_are_kept_changed_and_removed(alice: Caller) -> None:
    network = alice.make("networks")
    port = alice.make(
        "ports", network_id=network["id"], dns_name="web",
        extra_dhcp_opts=[
            {"opt_name": "bootfile-name", "opt_value": "pxelinux.0"}, {"opt_name": "66", "opt_value": "t"},
        ],
    )  # fmt: skip
    assert {"opt_name": "bootfile-name", "opt_value": "pxelinux.0", "ip_version": 4} in port["extra_dhcp_opts"]
    changed = alice.set("ports", port["id"], extra_dhcp_opts=[{"opt_name": "66", "opt_value": None}])
    assert [option["opt_name"] for option in changed["extra_dhcp_opts"]] == ["bootfile-name"]


# --- security.md, row 28 ----------------------------------------------------------------------------------------


def test_naming_oneself_a_network_device_gains_nothing(alice: Caller, admin: Caller, cloud: Cloud) -> None:
    shared = admin.make("networks", shared=True)
    admin.make("subnets", network_id=shared["id"], ip_version=4, cidr="10.44.0.0/24")
    for owner in ("network:dhcp", "network:router_interface", "network:"):
        body = {"port": {"network_id": shared["id"], "device_owner": owner}}
        alice.error("POST", "ports", body, 403, "PolicyNotAuthorized")
    port = alice.make("ports", network_id=shared["id"])
    for body in (
        {"device_owner": "network:dhcp"}, {"binding:host_id": "test-host"}, {"port_security_enabled": False},
        {"mac_address": "fa:16:3e:00:00:09"}, {"fixed_ips": [{"ip_address": "10.44.0.9"}]},
        {"allowed_address_pairs": [{"ip_address": "0.0.0.0/0"}]}, {"binding:profile": {"x": "y"}},
    ):  # fmt: skip
        alice.error("PUT", f"ports/{port['id']}", {"port": body}, 403, "PolicyNotAuthorized")
    own, _ = alice.wired("10.0.0.0/24")
    posing = alice.make("ports", network_id=own["id"])
    admin.set("ports", posing["id"], binding__host_id="test-host")
    alice.set("ports", posing["id"], device_owner="network:dhcp")
    assert alice.get("ports", posing["id"])["security_groups"]
    state = _host_port(cloud, posing["id"])
    assert (state.trusted, state.port_security_enabled, bool(state.security_rules)) == (False, True, True)


def _host_port(cloud: Cloud, port_id: str) -> Any:
    """A port as its L2 agent is told."""
    from pileus.services.network.rpc import SERVER_TOPIC, FetchHostNetworks

    assert cloud.node is not None
    state = cloud.run(cloud.node.bus.call(SERVER_TOPIC, FetchHostNetworks(host="test-host")))
    return next(port for port in state.ports if port.id == port_id)


def test_ports_of_others_are_not_there(alice: Caller, bob: Caller) -> None:
    network, _ = alice.wired()
    port = alice.make("ports", network_id=network["id"])
    bob.error("GET", f"ports/{port['id']}", None, 404, "PortNotFound")
    bob.error("PUT", f"ports/{port['id']}", {"port": {"name": "x"}}, 404, "PortNotFound")
    bob.error("DELETE", f"ports/{port['id']}", None, 404, "PortNotFound")
    bob.error("POST", "ports", {"port": {"network_id": network["id"]}}, 404, "NetworkNotFound")
    group = alice.list("security-groups")[0]["id"]
    own, _ = bob.wired()
    body = {"port": {"network_id": own["id"], "security_groups": [group]}}
    bob.error("POST", "ports", body, 404, "SecurityGroupNotFound")
    assert bob.list("ports") == []


def test_the_owner_of_a_shared_network_sees_all_ports_on_it(alice: Caller, bob: Caller, admin: Caller) -> None:
    network, _ = alice.wired()
    admin.set("networks", network["id"], shared=True)
    port = bob.make("ports", network_id=network["id"])
    assert port["id"] in {p["id"] for p in alice.list("ports")}
    admin.error("PUT", f"networks/{network['id']}", {"network": {"shared": False}}, 409, "InvalidSharedSetting")
    alice.drop("ports", port["id"])


def test_quota_of_ports_holds_under_load(alice: Caller, admin: Caller, cloud: Cloud) -> None:
    network, _ = alice.wired()
    alice.make("ports", network_id=network["id"])
    used = admin.ok("GET", f"quotas/{alice.project_id}/details.json")["quota"]["port"]["used"]
    admin.ok("PUT", f"quotas/{alice.project_id}", {"quota": {"port": used + 5}})
    body = {"port": {"network_id": network["id"]}}
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        codes = list(pool.map(lambda _: Caller(cloud, alice.token).send("POST", "ports", body).status_code, range(20)))
    assert sorted(codes) == [201] * 5 + [409] * 15
    assert alice.error("POST", "ports", body, 409, "OverQuota") == "Quota exceeded for resources: ['port']."
