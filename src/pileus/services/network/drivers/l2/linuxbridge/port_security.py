"""Anti-spoofing as one nftables bridge table. Pure: structs in, text out.

Checked where frames enter a bridge, before the bridge learns their source address: a guest sends only from its own
MAC and IP addresses (and the allowed pairs), in Ethernet, ARP, IPv4, IPv6 and neighbour advertisements; it cannot
act as a DHCP server or an IPv6 router; and only IPv4, IPv6 and ARP pass, because tagged or exotic frames would get
around the IP filters. No guest reaches the host itself through a bridge of ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from pileus.services.network.rpc import HostPort

from .security_rules import ID_CHARS, is_filtered

AnyNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
KNOWN_ETHERTYPES = "{ ip, arp, ip6 }"
LINK_LOCAL_PREFIX = int(ipaddress.IPv6Address("fe80::"))


def render_table(table: str, ports: Sequence[HostPort], bridge_ports: Iterable[str]) -> str:
    """The whole table, replacing whatever was there in one transaction.

    `bridge_ports` are all devices in our bridges. Raises ValueError for addresses that are none.
    """
    filtered = sorted((port for port in ports if is_filtered(port)), key=lambda port: port.id)
    lines = [f"table bridge {table} {{}}", f"delete table bridge {table}", f"table bridge {table} {{"]
    lines += _prerouting(filtered)
    lines += _forward(filtered)
    lines += _input(sorted(set(bridge_ports)))
    for port in filtered:
        lines += _port_chains(port)
    return "\n".join([*lines, "}", ""])


def _prerouting(ports: Sequence[HostPort]) -> list[str]:
    verdicts = ", ".join(f'"{port.device_name}" : jump {_chain(port)}' for port in ports)
    body = [f"iifname vmap {{ {verdicts} }}"] if verdicts else []
    return _hook("prerouting", body)


def _forward(ports: Sequence[HostPort]) -> list[str]:
    body = [f"oifname {{ {_quoted(port.device_name for port in ports)} }} ether type != {KNOWN_ETHERTYPES} drop"]
    return _hook("forward", body if ports else [])


def _input(bridge_ports: Sequence[str]) -> list[str]:
    return _hook("input", [f"iifname {{ {_quoted(bridge_ports)} }} drop"] if bridge_ports else [])


def _hook(name: str, body: list[str]) -> list[str]:
    return [f"chain {name} {{", f"type filter hook {name} priority -300; policy accept;", *body, "}"]


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _chain(port: HostPort) -> str:
    return f"from_{port.id[:ID_CHARS].replace('-', '_')}"


def _port_chains(port: HostPort) -> list[str]:
    allowed = allowed_sources(port)
    lines: list[str] = []
    jumps: list[str] = []
    for number, (mac, networks) in enumerate(sorted(allowed.items())):
        name = f"{_chain(port)}_{number}"
        jumps.append(f"ether saddr {mac} goto {name}")
        lines += [f"chain {name} {{", *_mac_rules(mac, networks), "}"]
    return [*lines, f"chain {_chain(port)} {{", *jumps, "drop", "}"]


def _mac_rules(mac: str, networks: Sequence[AnyNetwork]) -> list[str]:
    ipv4 = _collapsed(network for network in networks if isinstance(network, ipaddress.IPv4Network))
    ipv6 = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    own_v6 = _collapsed([*ipv6, ipaddress.IPv6Network((link_local(mac), 128))])
    arp_ok = _collapsed([*ipv4, ipaddress.IPv4Network("0.0.0.0/32")])  # 0.0.0.0: RFC 5227 probes
    rules = [
        f"ether type arp arp saddr ether != {mac} drop",
        _arp_from(arp_ok),
        "ether type arp drop",
        "ether type ip udp sport 67 udp dport 68 drop",
        "ip saddr 0.0.0.0 udp sport 68 udp dport 67 return",
    ]
    if ipv4:
        rules.append(_from("ip", ipv4))
    return [
        *rules,
        "ether type ip drop",
        "ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } drop",
        "ether type ip6 udp sport 547 udp dport 546 drop",
        *(
            f"icmpv6 type nd-neighbor-advert @th,64,128 & {_mask(network)} == {_number(network)} return"
            for network in own_v6
        ),
        "ether type ip6 icmpv6 type nd-neighbor-advert drop",
        "ip6 saddr :: icmpv6 type { nd-router-solicit, nd-neighbor-solicit, mld2-listener-report } return",
        _from("ip6", own_v6),
        "drop",
    ]


def allowed_sources(port: HostPort) -> dict[str, list[AnyNetwork]]:
    """MAC -> networks it may send from. Raises ValueError for bad addresses."""
    own = checked_mac(port.mac_address)
    allowed: dict[str, list[AnyNetwork]] = {own: [ipaddress.ip_network(ip.ip_address) for ip in port.fixed_ips]}
    for pair in port.allowed_address_pairs:
        mac = checked_mac(pair.mac_address) if pair.mac_address else own
        allowed.setdefault(mac, []).append(ipaddress.ip_network(pair.ip_address, strict=False))
    return allowed


def checked_mac(text: str) -> str:
    """The MAC in lower case. Raises ValueError if it is none."""
    parts = text.lower().split(":")
    if len(parts) != 6 or any(len(part) != 2 or int(part, 16) < 0 for part in parts):
        raise ValueError(f"not a MAC address: {text!r}")
    return ":".join(parts)


def link_local(mac: str) -> ipaddress.IPv6Address:
    """The IPv6 link-local address formed from a MAC (RFC 4291, appendix A)."""
    octets = bytearray(bytes.fromhex(mac.replace(":", "")))
    octets[0] ^= 0x02
    return ipaddress.IPv6Address(LINK_LOCAL_PREFIX | int.from_bytes(octets[:3] + b"\xff\xfe" + octets[3:], "big"))


def _collapsed(networks: Iterable[AnyNetwork]) -> list[AnyNetwork]:
    return list(ipaddress.collapse_addresses(networks))  # type: ignore[type-var]


def _from(protocol: str, networks: Sequence[AnyNetwork]) -> str:
    if networks[0].prefixlen == 0:  # nft takes no /0 in a set
        return f"ether type {protocol} return"
    return f"{protocol} saddr {_set(networks)} return"


def _arp_from(networks: Sequence[AnyNetwork]) -> str:
    if networks[0].prefixlen == 0:
        return "ether type arp return"
    return f"arp saddr ip {_set(networks)} return"


def _set(networks: Sequence[AnyNetwork]) -> str:
    return "{ " + ", ".join(_plain(network) for network in networks) + " }"


def _plain(network: AnyNetwork) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _mask(network: AnyNetwork) -> str:
    return f"0x{int(network.netmask):032x}"


def _number(network: AnyNetwork) -> str:
    return f"0x{int(network.network_address):032x}"


def bad_ports(ports: Iterable[HostPort]) -> Mapping[str, str]:
    """Port id -> reason, for ports whose addresses cannot be rendered; they must not stop the others."""
    reasons: dict[str, str] = {}
    for port in ports:
        try:
            allowed_sources(port)
        except ValueError as error:
            reasons[port.id] = str(error)
    return reasons
