"""A router's rules as text."""

from __future__ import annotations

import pytest

from pileus.services.network.drivers.l3.netns.nat import render_ipv4, translations
from pileus.services.network.rpc import FixedIp, FloatingIp, HostRouter, RouterGateway


def router(**changes: object) -> HostRouter:
    gateway = RouterGateway(
        port_id="p", network_id="n", mac_address="fa:16:3e:00:00:01", mtu=1500,
        fixed_ips=(FixedIp("2001:db8::9", 64), FixedIp("203.0.113.9", 24)), next_hops=("203.0.113.1",),
    )  # fmt: skip
    return HostRouter(**({"id": "r", "gateway": gateway} | changes))  # type: ignore[arg-type]


FLOATING = FloatingIp(id="f", floating_ip_address="203.0.113.50", fixed_ip_address="10.0.0.5", port_id="p")


def test_translation_uses_the_ipv4_gateway_address_last() -> None:
    lines = render_ipv4(router(floating_ips=(FLOATING,)), "qg-1", 9697).splitlines()
    sources = [line.split("--to-source ")[1] for line in lines if "-j SNAT" in line]
    assert sources == ["203.0.113.50", "203.0.113.50", "203.0.113.9", "203.0.113.9 --random-fully"]


def test_without_snat_only_floating_addresses_are_translated() -> None:
    text = render_ipv4(router(enable_snat=False), "qg-1", 9697)
    assert "SNAT" not in text
    assert "-A FORWARD" not in text


def test_without_gateway_only_metadata_is_redirected() -> None:
    text = render_ipv4(router(gateway=None), None, 9697)
    assert "169.254.169.254/32" in text
    assert "NAT" not in text
    assert "REDIRECT" not in render_ipv4(router(gateway=None), None, None)


def test_rules_in_force_tell_their_translations() -> None:
    in_force = ["-A PREROUTING -d 203.0.113.50/32 -j DNAT --to-destination 10.0.0.5", "-A PREROUTING -j other"]
    assert translations(in_force) == {("203.0.113.50", "10.0.0.5")}


def test_hostile_addresses_are_refused() -> None:
    hostile = FloatingIp(id="f", floating_ip_address="1.2.3.4 -j ACCEPT", fixed_ip_address="10.0.0.5", port_id="p")
    with pytest.raises(ValueError, match=r"1\.2\.3\.4"):
        render_ipv4(router(floating_ips=(hostile,)), "qg-1", 9697)
