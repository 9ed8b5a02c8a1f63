"""Accepted rules are ones that the data plane can say (security.md, row 27)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pileus.kernel.errors import ServiceError
from pileus.services.network.drivers.l2.linuxbridge.security_rules import PROTOCOL_NUMBERS
from pileus.services.network.logic import security_rules

PORTS = st.none() | st.integers(-5, 300) | st.integers(65_500, 65_600)
RULES = st.fixed_dictionaries(
    {
        "direction": st.sampled_from(["ingress", "egress"]),
        "ethertype": st.sampled_from(["IPv4", "IPv6"]),
        "protocol": st.none() | st.sampled_from(sorted(security_rules.PROTOCOLS)) | st.integers(-2, 300).map(str),
        "port_range_min": PORTS,
        "port_range_max": PORTS,
        "remote_ip_prefix": st.sampled_from([None, "10.0.0.0/8", "2001:db8::/32", "10.0.0.1"]),
        "remote_group_id": st.sampled_from([None, "g"]),
    }
)


@given(RULES)
def test_a_rule_is_refused_in_words_or_has_one_meaning(rule: dict[str, Any]) -> None:
    try:
        checked = security_rules.check(rule)
    except ServiceError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert (refused.code, bool(refused.text)) == (400, True)
        return
    again = security_rules.check(checked)
    assert again == checked
    assert security_rules.meaning(again) == security_rules.meaning(checked)
    if checked["port_range_max"] is not None and checked["protocol"] not in ("icmp", "ipv6-icmp", "icmpv6", "1", "58"):
        assert 1 <= checked["port_range_min"] <= checked["port_range_max"] <= security_rules.MAX_PORT
    if checked["remote_ip_prefix"] is not None:
        assert (":" in checked["remote_ip_prefix"]) == (checked["ethertype"] == "IPv6")


def test_server_and_driver_mean_the_same_numbers() -> None:
    assert {name: PROTOCOL_NUMBERS[name] for name in security_rules.PROTOCOLS} == security_rules.PROTOCOLS
