"""Anti-spoofing as text."""

from __future__ import annotations

import pytest

from pileus.services.network.drivers.l2.linuxbridge.port_security import (
    allowed_sources,
    bad_ports,
    link_local,
    render_table,
)
from pileus.services.network.rpc import AddressPair, FixedIp, HostPort


def port(**changes: object) -> HostPort:
    values: dict[str, object] = {
        "id": "11111111-2222-3333-4444-555555555555", "network_id": "n", "device_name": "tap11111111-22",
        "mac_address": "FA:16:3E:00:00:01", "fixed_ips": (FixedIp("10.0.0.5", 24), FixedIp("2001:db8::5", 64)),
    }  # fmt: skip
    return HostPort(**(values | changes))  # type: ignore[arg-type]


def test_link_local_address_follows_the_mac() -> None:
    assert str(link_local("fa:16:3e:00:00:01")) == "fe80::f816:3eff:fe00:1"


def test_pairs_belong_to_their_mac() -> None:
    pairs = (AddressPair("10.0.1.0/24"), AddressPair("10.0.2.1", "fa:16:3e:00:00:02"))
    allowed = {mac: [str(network) for network in found] for mac, found in
               allowed_sources(port(allowed_address_pairs=pairs)).items()}  # fmt: skip
    assert allowed == {
        "fa:16:3e:00:00:01": ["10.0.0.5/32", "2001:db8::5/128", "10.0.1.0/24"],
        "fa:16:3e:00:00:02": ["10.0.2.1/32"],
    }


@pytest.mark.parametrize("mac", ["", "fa:16:3e:00:00", 'fa:16:3e:00:00:01"; flush ruleset', "fa:16:3e:00:00:0g", "-1:00:00:00:00:00"])  # noqa: E501
def test_bad_addresses_are_refused_before_any_text_is_made(mac: str) -> None:
    assert list(bad_ports([port(mac_address=mac)])) == [port().id]
    assert list(bad_ports([port(allowed_address_pairs=(AddressPair("10.0.0.0/33"),))])) == [port().id]


def test_the_table_replaces_itself_and_skips_unfiltered_ports() -> None:
    text = render_table("pilx", [port(trusted=True)], ["tap1"])
    assert text.startswith("table bridge pilx {}\ndelete table bridge pilx\ntable bridge pilx {\n")
    assert "11111111" not in text
    assert 'iifname { "tap1" } drop' in text


def test_a_port_without_addresses_may_still_ask_for_one() -> None:
    text = render_table("pilx", [port(fixed_ips=())], [])
    assert "ip saddr 0.0.0.0 udp sport 68 udp dport 67 return" in text
    assert "ip saddr {" not in text
