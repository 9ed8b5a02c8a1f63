"""Security groups as text: complete, safe against odd input, and reload without leftovers."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.services.network.drivers.l2.linuxbridge.firewall import loses_rights
from pileus.services.network.drivers.l2.linuxbridge.security_rules import match_of, protocol_number, render
from pileus.services.network.rpc import FixedIp, HostPort, SecurityRule

PORT_ID = "11111111-2222-3333-4444-555555555555"


def port(*rules: SecurityRule, **changes: object) -> HostPort:
    values: dict[str, object] = {
        "id": PORT_ID, "network_id": "n", "device_name": "tap11111111-22", "mac_address": "fa:16:3e:00:00:01",
        "fixed_ips": (FixedIp("10.0.0.5", 24),), "security_rules": rules,
    }  # fmt: skip
    return HostPort(**(values | changes))  # type: ignore[arg-type]


def rule(**changes: object) -> SecurityRule:
    return SecurityRule(**({"direction": "ingress", "ethertype": "IPv4"} | changes))  # type: ignore[arg-type]


def lines_of(chain: str, text: str) -> list[str]:
    return [line.removeprefix(f"-A {chain} ") for line in text.splitlines() if line.startswith(f"-A {chain} ")]


def test_a_port_without_rules_ends_both_ways_in_drop() -> None:
    text = render("ipv4", "pilx", [port()], {}, ()).text
    for chain in ("pilx-i-11111111-22", "pilx-o-11111111-22"):
        assert lines_of(chain, text)[-1] == "-j DROP"
        assert not [line for line in lines_of(chain, text) if line in ("-j ACCEPT", "-j RETURN")]


@pytest.mark.parametrize(
    ("given_rule", "expected"),
    [
        (rule(), ""),
        (rule(protocol="tcp", port_range_min=22, port_range_max=22), "-p 6 -m multiport --dports 22"),
        (rule(protocol="17", port_range_min=1, port_range_max=9), "-p 17 -m multiport --dports 1:9"),
        (rule(protocol="icmp"), "-p icmp"),
        (rule(protocol="icmp", port_range_min=8, port_range_max=0), "-p icmp -m icmp --icmp-type 8/0"),
        (rule(protocol="icmp", port_range_min=3), "-p icmp -m icmp --icmp-type 3"),
        (rule(protocol="icmp", ethertype="IPv6", port_range_min=128), "-p ipv6-icmp -m icmp6 --icmpv6-type 128"),
        (rule(protocol="VRRP"), "-p 112"),
        (rule(protocol="any"), ""),
    ],
)
def test_protocols_ports_and_icmp_types(given_rule: SecurityRule, expected: str) -> None:
    assert match_of(given_rule) == expected


def test_unmanageable_rules_are_named_and_left_out() -> None:
    odd = [
        rule(protocol="vrrp", port_range_min=80),
        rule(port_range_min=80, port_range_max=80),
        rule(protocol="tcp", port_range_min=2, port_range_max=1),
        rule(protocol="x\n-j ACCEPT"),
        rule(remote_prefixes=("10.0.0.0/8\n-A FORWARD -j ACCEPT",)),
    ]
    good = rule(protocol="tcp", port_range_min=80, port_range_max=80)
    rendered = render("ipv4", "pilx", [port(*odd, good)], {}, ())
    assert len(rendered.problems) == len(odd)
    assert "-p 6 -m multiport --dports 80 -j ACCEPT" in lines_of("pilx-i-11111111-22", rendered.text)
    assert "-j ACCEPT\n-j ACCEPT" not in rendered.text


@given(protocol=st.text(max_size=20), low=st.integers(-5, 70000), high=st.integers(-5, 70000),
       prefix=st.text(max_size=30))  # fmt: skip
def test_no_input_adds_a_line_of_its_own(protocol: str, low: int, high: int, prefix: str) -> None:
    hostile = rule(protocol=protocol, port_range_min=low, port_range_max=high, remote_prefixes=(prefix,))
    text = render("ipv4", "pilx", [port(hostile)], {}, ()).text
    assert len(text.splitlines()) <= len(render("ipv4", "pilx", [port()], {}, ()).text.splitlines()) + 1


def test_group_without_members_admits_nobody_and_other_families_are_ignored() -> None:
    rules = rule(remote_prefixes=()), rule(remote_prefixes=("2001:db8::/64",))
    text = render("ipv4", "pilx", [port(*rules)], {}, ()).text
    accepted = [line for line in lines_of("pilx-i-11111111-22", text) if line.endswith("-j ACCEPT")]
    assert accepted == ["-p udp -m udp --sport 67 --dport 68 -j ACCEPT"]


def test_long_remote_groups_are_shared_between_ports() -> None:
    members = tuple(str(ipaddress.ip_address("10.1.0.0") + number) for number in range(200))
    group = rule(remote_prefixes=members)
    ports = [port(group, id=f"{number:011d}", device_name=f"tap{number}") for number in range(9)]
    text = render("ipv4", "pilx", ports, {}, ()).text
    assert text.count("-s 10.1.0.77/32") == 1


def test_reload_removes_stale_chains_and_adds_the_jump_once() -> None:
    in_force = ("*raw", "-A PREROUTING -j pilx-zones", "*nat", "-A PREROUTING -j pilx-nat-in",
                "-A POSTROUTING -j pilx-nat-out", "*filter", "-A FORWARD -j pilx-forward",
                ":pilx-forward -", ":pilx-i-gone -", ":other-chain -")  # fmt: skip
    text = render("ipv4", "pilx", [port()], {"brq1": 7}, in_force).text
    assert "-X pilx-i-gone" in text
    assert "other-chain" not in text
    assert "-I FORWARD" not in text
    assert "-I PREROUTING" not in text
    assert "-A pilx-zones -i brq1 -j CT --zone 7" in text
    fresh = render("ipv4", "pilx", [port()], {}, ()).text
    assert "-I FORWARD 1 -j pilx-forward" in fresh


@pytest.mark.parametrize("change", [{"trusted": True}, {"port_security_enabled": False}])
def test_unfiltered_ports_have_no_chains(change: dict[str, object]) -> None:
    assert "11111111" not in render("ipv4", "pilx", [port(**change)], {}, ()).text


def test_flows_are_cut_only_when_something_is_lost() -> None:
    web, ssh = rule(protocol="tcp", port_range_min=80), rule(protocol="tcp", port_range_min=22)
    group = rule(remote_prefixes=("10.0.0.1/32", "10.0.0.2/32"))
    assert not loses_rights(port(web), port(web, ssh))
    assert loses_rights(port(web, ssh), port(web))
    assert loses_rights(port(group), port(rule(remote_prefixes=("10.0.0.1/32",))))
    assert not loses_rights(port(rule(remote_prefixes=("10.0.0.1/32",))), port(group))
    assert loses_rights(port(web), None)
    assert loses_rights(port(port_security_enabled=False), port(web))
    assert not loses_rights(port(web), port(port_security_enabled=False))
    assert loses_rights(port(web), port(web, fixed_ips=()))


def test_protocol_numbers_follow_iana() -> None:
    assert [protocol_number(name) for name in ("tcp", "UDP", "47", "ipv6-icmp", "sctp")] == [6, 17, 47, 58, 132]
    with pytest.raises(ValueError, match="unknown protocol"):
        protocol_number("256")
