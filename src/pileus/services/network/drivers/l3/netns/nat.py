"""A router's packet rules as iptables text. Pure: structs in, text out.

The namespace is ours alone, so each text is the whole rule set of its family.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from pileus.services.network.rpc import HostRouter

METADATA_ADDRESS = "169.254.169.254"
FROM_OUTSIDE_MARK = "0x1"
OPEN_POLICIES = (":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]")
_DNAT = re.compile(r"-A PREROUTING -d ([0-9.]+)/32 .*-j DNAT --to-destination ([0-9.]+)$")


def render_ipv4(router: HostRouter, gateway_device: str | None, metadata_port: int | None) -> str:
    """NAT, metadata redirection and filter of a router. Raises ValueError for addresses that are none."""
    prerouting: list[str] = []
    postrouting: list[str] = []
    mangle: list[str] = []
    filters: list[str] = []
    if metadata_port is not None:
        prerouting.append(
            f"-A PREROUTING -i qr-+ -d {METADATA_ADDRESS}/32 -p tcp -m tcp --dport 80"
            f" -j REDIRECT --to-ports {metadata_port}"
        )
    if gateway_device is not None:
        mangle.append(f"-A PREROUTING -i {gateway_device} -j MARK --set-xmark {FROM_OUTSIDE_MARK}/0xffffffff")
        prerouting += _inbound(router)
        postrouting += _outbound(router, gateway_device)
        filters += _guard(router, gateway_device, metadata_port)
    return "\n".join(
        [
            "*mangle", *mangle, "COMMIT",
            "*nat", *prerouting, *postrouting, "COMMIT",
            "*filter", *OPEN_POLICIES, *filters, "COMMIT", "",
        ]
    )  # fmt: skip


def render_ipv6(router: HostRouter, gateway_device: str | None, metadata_port: int | None) -> str:
    """IPv6 is routed, not translated."""
    filters: list[str] = []
    if gateway_device is not None and metadata_port is not None:
        filters.append(f"-A INPUT -i {gateway_device} -p tcp -m tcp --dport {metadata_port} -j DROP")
    return "\n".join(["*filter", *OPEN_POLICIES, *filters, "COMMIT", ""])


def _pairs(router: HostRouter) -> list[tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]]:
    return [
        (ipaddress.IPv4Address(floating.floating_ip_address), ipaddress.IPv4Address(floating.fixed_ip_address))
        for floating in sorted(router.floating_ips, key=lambda floating: floating.floating_ip_address)
    ]


def _inbound(router: HostRouter) -> list[str]:
    return [f"-A PREROUTING -d {floating}/32 -j DNAT --to-destination {fixed}" for floating, fixed in _pairs(router)]


def _outbound(router: HostRouter, device: str) -> list[str]:
    # Between two guests behind this router that talk by floating address: both directions must pass the router.
    turned = f"-m mark ! --mark {FROM_OUTSIDE_MARK} -m conntrack --ctstate DNAT"
    lines: list[str] = []
    for floating, fixed in _pairs(router):
        lines.append(f"-A POSTROUTING -s {fixed}/32 -o {device} -j SNAT --to-source {floating}")
        lines.append(f"-A POSTROUTING -s {fixed}/32 {turned} -j SNAT --to-source {floating}")
    address = gateway_address(router)
    if address is not None and router.floating_ips:
        lines.append(f"-A POSTROUTING {turned} -j SNAT --to-source {address}")
    if address is not None and router.enable_snat:
        lines.append(
            f"-A POSTROUTING -o {device} -m mark ! --mark {FROM_OUTSIDE_MARK}"
            f" -j SNAT --to-source {address} --random-fully"
        )
    return lines


def _guard(router: HostRouter, device: str, metadata_port: int | None) -> list[str]:
    lines: list[str] = []
    if metadata_port is not None:
        lines.append(f"-A INPUT -i {device} -p tcp -m tcp --dport {metadata_port} -j DROP")
    if router.enable_snat:
        # Tenant addresses behind a translating router are private: nobody outside routes into them.
        lines.append(f"-A FORWARD -i {device} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP")
    return lines


def gateway_address(router: HostRouter) -> ipaddress.IPv4Address | None:
    """The address that guests without a floating one are seen under."""
    if router.gateway is None:
        return None
    for fixed_ip in router.gateway.fixed_ips:
        address = ipaddress.ip_address(fixed_ip.ip_address)
        if isinstance(address, ipaddress.IPv4Address):
            return address
    return None


def translations(in_force: Iterable[str]) -> set[tuple[str, str]]:
    """(floating, fixed) pairs that rules in force translate."""
    return {(found.group(1), found.group(2)) for line in in_force if (found := _DNAT.match(line))}
