"""What a security group rule may say. A rule that is accepted is one that the data plane applies."""

from __future__ import annotations

import ipaddress
from typing import Any

from pileus.services.network.errors import (
    SecurityGroupEthertypeConflictWithProtocol,
    SecurityGroupInvalidIcmpValue,
    SecurityGroupInvalidPortRange,
    SecurityGroupInvalidPortValue,
    SecurityGroupInvalidProtocolForPort,
    SecurityGroupMissingIcmpType,
    SecurityGroupProtocolRequiredWithPorts,
    SecurityGroupRemoteGroupAndRemoteIpPrefix,
    SecurityGroupRuleInvalidProtocol,
    SecurityGroupRuleParameterConflict,
)

PROTOCOLS = {
    "ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "icmpv6": 58, "igmp": 2, "ipip": 4,
    "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43,
    "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}  # fmt: skip
"""Names and numbers as IANA assigns them."""
PORT_PROTOCOLS = frozenset({6, 17, 33, 132, 136})
ICMP, ICMP_V6 = 1, 58
V6_ONLY = frozenset({41, 43, 44, 58, 59, 60})
MAX_PORT = 65_535
MAX_ICMP = 255


def check(rule: dict[str, Any]) -> dict[str, Any]:
    """The rule with protocol and prefix in canonical spelling. Raises what cannot be applied.

    Keys: ethertype, protocol, port_range_min, port_range_max, remote_ip_prefix, remote_group_id.
    """
    protocol, number = _protocol(rule["protocol"])
    if number == ICMP and rule["ethertype"] == "IPv6":
        protocol, number = "ipv6-icmp", ICMP_V6
    if number in V6_ONLY and rule["ethertype"] == "IPv4":
        raise SecurityGroupEthertypeConflictWithProtocol(ethertype="IPv4", protocol=protocol)
    _check_ports(rule["port_range_min"], rule["port_range_max"], protocol, number)
    if rule["remote_ip_prefix"] is not None and rule["remote_group_id"] is not None:
        raise SecurityGroupRemoteGroupAndRemoteIpPrefix()
    return rule | {"protocol": protocol, "remote_ip_prefix": _prefix(rule["remote_ip_prefix"], rule["ethertype"])}


def _protocol(given: str | int | None) -> tuple[str | None, int | None]:
    """Spelling and number. `any` and 0 stand for every protocol, which is kept as None."""
    if given is None:
        return None, None
    text = str(given).strip().lower()
    if text in ("any", ""):
        return None, None
    if text in PROTOCOLS:
        return text, PROTOCOLS[text]
    if text.isascii() and text.isdigit() and int(text) <= 255:
        return (str(int(text)), int(text)) if int(text) else (None, None)
    names = ", ".join(["any", *sorted(PROTOCOLS)])
    raise SecurityGroupRuleInvalidProtocol(protocol=text[:40], values=f"[{names}]")


def _check_ports(first: int | None, last: int | None, protocol: str | None, number: int | None) -> None:
    if first is None and last is None:
        return
    if number is None:
        raise SecurityGroupProtocolRequiredWithPorts()
    if number in (ICMP, ICMP_V6):
        for field, attr, value in (("type", "port-range-min", first), ("code", "port-range-max", last)):
            if value is not None and not 0 <= value <= MAX_ICMP:
                raise SecurityGroupInvalidIcmpValue(field=field, attr=attr, value=value)
        if first is None:
            raise SecurityGroupMissingIcmpType(value=last)
        return
    if number not in PORT_PROTOCOLS:
        raise SecurityGroupInvalidProtocolForPort(protocol=protocol)
    if first is None or last is None:
        raise SecurityGroupInvalidPortRange()
    for port in (first, last):
        if not 1 <= port <= MAX_PORT:
            raise SecurityGroupInvalidPortValue(port=port)
    if first > last:
        raise SecurityGroupInvalidPortRange()


def _prefix(given: str | None, ethertype: str) -> str | None:
    if given is None:
        return None
    network = ipaddress.ip_network(given, strict=False)
    if network.version != (4 if ethertype == "IPv4" else 6):
        raise SecurityGroupRuleParameterConflict(ethertype=ethertype, cidr=given)
    return str(network)


def meaning(rule: dict[str, Any]) -> str:
    """What the rule allows, in one spelling: equal for rules that allow the same."""
    protocol = rule["protocol"]
    number = PROTOCOLS.get(protocol, protocol) if protocol is not None else "any"
    remote = rule["remote_group_id"] or rule["remote_ip_prefix"] or "any"
    if remote in ("0.0.0.0/0", "::/0"):
        remote = "any"
    ports = f"{_text(rule['port_range_min'])}-{_text(rule['port_range_max'])}"
    return f"{rule['direction']} {rule['ethertype']} {number} {ports} {remote}"


def _text(value: int | None) -> str:
    return "" if value is None else str(value)


def default_rules(group_id: str) -> list[dict[str, Any]]:
    """What a project's default group begins with: everything out, and in from its own members."""
    rules = new_group_rules()
    for ethertype in ("IPv4", "IPv6"):
        rules.append(_rule("ingress", ethertype) | {"remote_group_id": group_id})
    return rules


def new_group_rules() -> list[dict[str, Any]]:
    """What any new group begins with: everything out."""
    return [_rule("egress", "IPv4"), _rule("egress", "IPv6")]


def _rule(direction: str, ethertype: str) -> dict[str, Any]:
    return {
        "direction": direction, "ethertype": ethertype, "protocol": None, "port_range_min": None,
        "port_range_max": None, "remote_ip_prefix": None, "remote_group_id": None,
    }  # fmt: skip
