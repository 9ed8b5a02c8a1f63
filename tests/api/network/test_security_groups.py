"""Security groups and rules: what is accepted is what the agents are told (security.md, row 27)."""

from __future__ import annotations

from typing import Any

import pytest

from cloud import Cloud
from pileus.services.network.rpc import SERVER_TOPIC, FetchHostNetworks, SecurityRule

from .client import Caller

SERVICES = ("identity", "network")


def test_a_new_group_lets_everything_out(alice: Caller) -> None:
    group = alice.make("security-groups", name="web", description="d")
    rules = {(rule["direction"], rule["ethertype"]) for rule in group["security_group_rules"]}
    assert rules == {("egress", "IPv4"), ("egress", "IPv6")}
    assert (group["stateful"], group["shared"], group["project_id"]) == (True, False, alice.project_id)
    changed = alice.set("security-groups", group["id"], name="www")
    assert changed["name"] == "www"
    alice.drop("security-groups", group["id"])
    alice.error("GET", f"security-groups/{group['id']}", None, 404, "SecurityGroupNotFound")


def test_the_default_group_stays_what_it_is(alice: Caller, admin: Caller) -> None:
    (group,) = alice.list("security-groups", name="default")
    assert len(group["security_group_rules"]) == 4
    path = f"security-groups/{group['id']}"
    alice.error("DELETE", path, None, 409, "SecurityGroupCannotRemoveDefault")
    alice.error("PUT", path, {"security_group": {"name": "mine"}}, 409, "SecurityGroupCannotUpdateDefault")
    alice.error("POST", "security-groups", {"security_group": {"name": "default"}}, 409,
                "SecurityGroupDefaultAlreadyExists")  # fmt: skip
    admin.drop("security-groups", group["id"])
    assert len(alice.list("security-groups", name="default")) == 1


def test_a_group_in_use_stays(alice: Caller) -> None:
    group = alice.make("security-groups", name="web")
    network, _ = alice.wired()
    port = alice.make("ports", network_id=network["id"], security_groups=[group["id"]])
    alice.error("DELETE", f"security-groups/{group['id']}", None, 409, "SecurityGroupInUse")
    alice.drop("ports", port["id"])
    alice.drop("security-groups", group["id"])


@pytest.mark.parametrize(
    ("values", "again"),
    [
        ({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}, {"protocol": "TCP"}),
        ({"protocol": "tcp", "port_range_min": 80, "port_range_max": 80}, {"protocol": "6"}),
        ({"protocol": 17, "port_range_min": 53, "port_range_max": 53}, {"protocol": "udp"}),
        ({"protocol": "icmp", "port_range_min": 8, "port_range_max": 0}, {}),
        ({"protocol": "icmp", "port_range_min": 0}, {}),
        ({"protocol": "icmp", "ethertype": "IPv6"}, {"protocol": "ipv6-icmp"}),
        ({"protocol": "icmpv6", "ethertype": "ipv6", "port_range_min": 128}, {"protocol": "58"}),
        ({"protocol": "vrrp"}, {"protocol": "112"}),
        ({"protocol": "sctp", "port_range_min": 1, "port_range_max": 65535}, {}),
        ({"protocol": "250"}, {"protocol": 250}),
        ({"protocol": None}, {"protocol": "any"}),
        ({"protocol": "0"}, {"protocol": None}),
        ({"remote_ip_prefix": "10.0.0.5"}, {"remote_ip_prefix": "10.0.0.5/32"}),
        ({"remote_ip_prefix": "10.0.0.77/24"}, {"remote_ip_prefix": "10.0.0.0/24"}),
        ({"remote_ip_prefix": "0.0.0.0/0"}, {"remote_ip_prefix": None}),
        ({"remote_ip_prefix": "2001:DB8::/32", "ethertype": "IPv6"}, {"remote_ip_prefix": "2001:db8::/32"}),
    ],
)
def test_a_rule_is_accepted_once_however_it_is_spelled(
    alice: Caller, values: dict[str, Any], again: dict[str, Any]
) -> None:
    group = alice.make("security-groups", name="g")
    body = {"security_group_id": group["id"], "direction": "ingress"} | values
    rule = alice.make("security-group-rules", **body)
    same = {"security_group_rule": body | again}
    assert rule["id"] in alice.error("POST", "security-group-rules", same, 409, "SecurityGroupRuleExists")
    assert alice.get("security-group-rules", rule["id"])["id"] == rule["id"]
    assert len(alice.list("security-group-rules", security_group_id=group["id"])) == 3
    alice.drop("security-group-rules", rule["id"])
    alice.error("DELETE", f"security-group-rules/{rule['id']}", None, 404, "SecurityGroupRuleNotFound")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"direction": "sideways"}, "HTTPBadRequest"),
        ({"ethertype": "IPX"}, "HTTPBadRequest"),
        ({"protocol": "nonsense"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "256"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "-1"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "tcp -j ACCEPT"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": True}, "HTTPBadRequest"),
        ({"protocol": ["tcp"]}, "HTTPBadRequest"),
        ({"port_range_min": 22, "port_range_max": 22}, "SecurityGroupProtocolRequiredWithPorts"),
        ({"protocol": "tcp", "port_range_min": 23, "port_range_max": 22}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_min": 22}, "SecurityGroupInvalidPortRange"),
        ({"protocol": "tcp", "port_range_min": 0, "port_range_max": 22}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536}, "SecurityGroupInvalidPortValue"),
        ({"protocol": "tcp", "port_range_min": "a", "port_range_max": 5}, "HTTPBadRequest"),
        ({"protocol": "vrrp", "port_range_min": 1, "port_range_max": 2}, "SecurityGroupInvalidProtocolForPort"),
        ({"protocol": "112", "port_range_min": 1, "port_range_max": 2}, "SecurityGroupInvalidProtocolForPort"),
        ({"protocol": "icmp", "port_range_min": 256}, "SecurityGroupInvalidIcmpValue"),
        ({"protocol": "icmp", "port_range_min": 8, "port_range_max": -1}, "SecurityGroupInvalidIcmpValue"),
        ({"protocol": "icmp", "port_range_max": 3}, "SecurityGroupMissingIcmpType"),
        ({"protocol": "ipv6-icmp"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"protocol": "58"}, "SecurityGroupEthertypeConflictWithProtocol"),
        ({"remote_ip_prefix": "2001:db8::/32"}, "SecurityGroupRuleParameterConflict"),
        ({"remote_ip_prefix": "10.0.0.0/33"}, "HTTPBadRequest"),
        ({"remote_ip_prefix": "10.0.0.0/24\n-j ACCEPT"}, "HTTPBadRequest"),
        ({"remote_group_id": "x"}, "HTTPBadRequest"),
        ({"security_group_id": 5}, "HTTPBadRequest"),
    ],
)
def test_rules_that_mean_nothing_are_refused(alice: Caller, values: dict[str, Any], kind: str) -> None:
    group = alice.make("security-groups", name="g")
    body = {"security_group_id": group["id"], "direction": "ingress"} | values
    alice.error("POST", "security-group-rules", {"security_group_rule": body}, 400, kind)
    both = body | {"direction": "ingress", "remote_ip_prefix": "10.0.0.0/8", "remote_group_id": group["id"]}
    assert alice.send("POST", "security-group-rules", {"security_group_rule": both}).status_code == 400
    assert len(alice.get("security-groups", group["id"])["security_group_rules"]) == 2


def test_groups_and_rules_of_others_are_not_there(alice: Caller, bob: Caller) -> None:
    group = alice.make("security-groups", name="g")
    rule = group["security_group_rules"][0]
    bob.error("GET", f"security-groups/{group['id']}", None, 404, "SecurityGroupNotFound")
    bob.error("PUT", f"security-groups/{group['id']}", {"security_group": {"name": "x"}}, 404, "SecurityGroupNotFound")
    bob.error("DELETE", f"security-groups/{group['id']}", None, 404, "SecurityGroupNotFound")
    bob.error("GET", f"security-group-rules/{rule['id']}", None, 404, "SecurityGroupRuleNotFound")
    bob.error("DELETE", f"security-group-rules/{rule['id']}", None, 404, "SecurityGroupRuleNotFound")
    body = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp"}
    bob.error("POST", "security-group-rules", {"security_group_rule": body}, 404, "SecurityGroupNotFound")
    own = bob.make("security-groups", name="own")
    body = {"security_group_id": own["id"], "direction": "ingress", "remote_group_id": group["id"]}
    bob.error("POST", "security-group-rules", {"security_group_rule": body}, 404, "SecurityGroupNotFound")
    assert {found["name"] for found in bob.list("security-groups")} == {"default", "own"}
    assert not {found["id"] for found in bob.list("security-group-rules")} & {rule["id"]}


def _rules(cloud: Cloud, port_id: str) -> tuple[int, set[SecurityRule]]:
    """The generation, and the rules of a port, as the L2 agent of its host is told."""
    assert cloud.node is not None
    state = cloud.run(cloud.node.bus.call(SERVER_TOPIC, FetchHostNetworks(host="test-host")))
    return state.generation, set(next(port for port in state.ports if port.id == port_id).security_rules)


def test_agents_are_told_groups_as_addresses_that_follow_the_members(
    alice: Caller, admin: Caller, cloud: Cloud
) -> None:
    network, _ = alice.wired()
    friends, own = alice.make("security-groups", name="friends"), alice.make("security-groups", name="own")
    for body in ({"remote_group_id": friends["id"]}, {"remote_ip_prefix": "192.0.2.0/24", "protocol": "tcp",
                                                      "port_range_min": 22, "port_range_max": 22}):  # fmt: skip
        alice.make("security-group-rules", security_group_id=own["id"], direction="ingress", **body)
    port = alice.make("ports", network_id=network["id"], security_groups=[own["id"]])
    admin.set("ports", port["id"], binding__host_id="test-host")
    first, rules = _rules(cloud, port["id"])
    ssh = SecurityRule(direction="ingress", ethertype="IPv4", protocol="tcp", port_range_min=22, port_range_max=22,
                       remote_prefixes=("192.0.2.0/24",))  # fmt: skip
    nobody = SecurityRule(direction="ingress", ethertype="IPv4", remote_prefixes=())
    assert {ssh, nobody} <= rules
    friend = alice.make("ports", network_id=network["id"], security_groups=[friends["id"]])
    address = friend["fixed_ips"][0]["ip_address"]
    second, rules = _rules(cloud, port["id"])
    somebody = SecurityRule(direction="ingress", ethertype="IPv4", remote_prefixes=(f"{address}/32",))
    assert somebody in rules
    assert second > first
    alice.drop("ports", friend["id"])
    third, rules = _rules(cloud, port["id"])
    assert nobody in rules
    assert third > second
