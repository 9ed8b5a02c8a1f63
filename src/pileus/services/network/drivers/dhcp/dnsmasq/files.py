"""What dnsmasq reads, as text. Pure: structs in, text out.

Nothing a tenant wrote reaches a file unchecked: each value has a pattern without line breaks, and option names must be
ones dnsmasq itself lists. What does not pass is left out and named, so that one bad value never stops a network.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from pileus.services.network.rpc import DhcpHost, DhcpNetwork, DhcpOption, DhcpSubnet

METADATA_CIDR = "169.254.169.254/32"
LEASE_TIME_S = 86400
LEASE_MAX = 16384
MAX_OPTION_CHARS = 255
CLASSLESS_ROUTES = 121
CLASSLESS_ROUTES_MICROSOFT = 249

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
DOMAIN = re.compile(r"(?=.{1,253}\Z)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*")  # noqa: E501
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
OPTION_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
OPTION_VALUE = re.compile(r"[\x20-\x7e]*")
HELP_LINE = re.compile(r"^\s*(\d+)\s+(\S+)\s*$")


class Files(Struct, frozen=True):
    """The three files, and for people what was left out."""

    hosts: str
    options: str
    names: str
    problems: tuple[str, ...]


class Paths(Struct, frozen=True):
    """Where one network's files are."""

    directory: Path

    def of(self, name: str) -> Path:
        return self.directory / name


def known_options(help_text: str) -> frozenset[str]:
    """Option names from `dnsmasq --help dhcp` (or dhcp6)."""
    return frozenset(found.group(2) for line in help_text.splitlines() if (found := HELP_LINE.match(line)))


def command_line(network: DhcpNetwork, interface: str, paths: Paths, user: str) -> list[str]:
    """dnsmasq's arguments. Raises ValueError for a CIDR that is none."""
    argv = [
        "dnsmasq",
        "--conf-file=/dev/null",
        "--no-hosts",
        "--no-resolv",
        "--no-ping",
        "--bind-interfaces",
        f"--interface={interface}",
        "--except-interface=lo",
        f"--pid-file={paths.of('pid')}",
        f"--dhcp-leasefile={paths.of('leases')}",
        f"--dhcp-hostsfile={paths.of('hosts')}",
        f"--dhcp-optsfile={paths.of('options')}",
        f"--addn-hosts={paths.of('names')}",
        f"--user={user}",
        "--dhcp-authoritative",
        f"--dhcp-lease-max={LEASE_MAX}",
        "--quiet-dhcp",
        "--quiet-dhcp6",
        "--quiet-ra",
        f"--log-facility={paths.of('log')}",
    ]
    for subnet in served_subnets(network):
        argv.append(_range(subnet))
    if network.dns_domain and DOMAIN.fullmatch(network.dns_domain):
        argv += [f"--domain={network.dns_domain}", f"--local=/{network.dns_domain}/"]
    return argv


def served_subnets(network: DhcpNetwork) -> list[DhcpSubnet]:
    """Subnets whose hosts get their address from us."""
    return [subnet for subnet in network.subnets if subnet.enable_dhcp and _is_served(subnet)]


def _is_served(subnet: DhcpSubnet) -> bool:
    return subnet.ip_version == 4 or subnet.ipv6_address_mode == "dhcpv6-stateful"


def _tag(subnet: DhcpSubnet) -> str:
    return f"subnet-{subnet.id}"


def _range(subnet: DhcpSubnet) -> str:
    cidr = ipaddress.ip_network(subnet.cidr)
    if subnet.ip_version == 6:
        return f"--dhcp-range=set:{_tag(subnet)},{cidr.network_address},static,{cidr.prefixlen},{LEASE_TIME_S}s"
    return f"--dhcp-range=set:{_tag(subnet)},{cidr.network_address},static,{cidr.netmask},{LEASE_TIME_S}s"


def render_files(network: DhcpNetwork, options_v4: frozenset[str], options_v6: frozenset[str]) -> Files:
    """All three files. Raises ValueError for subnets that make no sense."""
    problems: list[str] = []
    cidrs = [ipaddress.ip_network(subnet.cidr) for subnet in served_subnets(network)]
    host_lines: list[str] = []
    option_lines = [line for subnet in served_subnets(network) for line in _subnet_options(network, subnet)]
    name_lines: list[str] = []
    for host in sorted(network.hosts, key=lambda host: host.port_id):
        mac = host.mac_address.lower()
        if not MAC.fullmatch(mac):
            problems.append(f"port {host.port_id}: bad MAC {host.mac_address!r}")
            continue
        options = list(_host_options(host, options_v4, options_v6, problems))
        option_lines += options
        name = _hostname(host, problems)
        for address in _addresses(host, cidrs):
            shown = f"[{address}]" if address.version == 6 else str(address)
            tag = f"set:port-{host.port_id}," if options else ""
            label = name or f"host-{str(address).replace('.', '-').replace(':', '-')}"
            host_lines.append(f"{mac},{tag}{label},{shown}")
            domain = f".{network.dns_domain}" if DOMAIN.fullmatch(network.dns_domain) else ""
            name_lines.append(f"{address} {label}{domain} {label}" if domain else f"{address} {label}")
    return Files(_text(host_lines), _text(option_lines), _text(name_lines), tuple(problems))


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _hostname(host: DhcpHost, problems: list[str]) -> str:
    if host.hostname and not LABEL.fullmatch(host.hostname):
        problems.append(f"port {host.port_id}: bad host name {host.hostname!r}")
        return ""
    return host.hostname.lower()


def _addresses(
    host: DhcpHost, cidrs: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    for fixed_ip in host.fixed_ips:
        address = ipaddress.ip_address(fixed_ip.ip_address)
        if any(address in cidr for cidr in cidrs):
            yield address


def _subnet_options(network: DhcpNetwork, subnet: DhcpSubnet) -> list[str]:
    tag = f"tag:{_tag(subnet)}"
    servers = _checked(subnet.dns_nameservers, subnet.ip_version)
    if subnet.ip_version == 6:
        return [f"{tag},option6:dns-server,{','.join(f'[{server}]' for server in servers)}"] if servers else []
    servers = servers or _checked(network.agent_ips, 4) or _checked([own_address(network, subnet)], 4)
    lines = [f"{tag},option:dns-server,{','.join(servers)}"] if servers else []
    gateway = _checked([subnet.gateway_ip or ""], 4)
    # An empty router option keeps dnsmasq from naming itself.
    lines.append(f"{tag},option:router" + (f",{gateway[0]}" if gateway else ""))
    routes = [f"{destination},{via}" for destination, via in classless_routes(network, subnet)]
    if routes:
        lines += [f"{tag},{number},{','.join(routes)}" for number in (CLASSLESS_ROUTES, CLASSLESS_ROUTES_MICROSOFT)]
    lines.append(f"{tag},option:mtu,{network.mtu}")
    return lines


def classless_routes(network: DhcpNetwork, subnet: DhcpSubnet) -> list[tuple[str, str]]:
    """Option 121 (RFC 3442). Clients that get it ignore the router option, so it repeats the default route."""
    routes: list[tuple[str, str]] = []
    for route in subnet.host_routes:
        destination, via = ipaddress.ip_network(route.destination), ipaddress.ip_address(route.nexthop)
        if destination.version == via.version == 4:
            routes.append((str(destination), str(via)))
    own = own_address(network, subnet)
    if network.metadata and own and all(destination != METADATA_CIDR for destination, _ in routes):
        routes.append((METADATA_CIDR, own))
    if routes and subnet.gateway_ip and all(destination != "0.0.0.0/0" for destination, _ in routes):
        routes.append(("0.0.0.0/0", str(ipaddress.IPv4Address(subnet.gateway_ip))))
    return routes


def own_address(network: DhcpNetwork, subnet: DhcpSubnet) -> str:
    """The DHCP port's address in a subnet, by which dnsmasq calls itself there; "" if it has none."""
    cidr = ipaddress.ip_network(subnet.cidr)
    return next((ip.ip_address for ip in network.fixed_ips if ipaddress.ip_address(ip.ip_address) in cidr), "")


def _checked(addresses: Iterable[str], version: int) -> list[str]:
    good: list[str] = []
    for text in addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if address.version == version:
            good.append(str(address))
    return good


def _host_options(
    host: DhcpHost, options_v4: frozenset[str], options_v6: frozenset[str], problems: list[str]
) -> Iterator[str]:
    for option in host.extra_options:
        known = options_v4 if option.ip_version == 4 else options_v6
        reason = _refusal(option, known)
        if reason:
            problems.append(f"port {host.port_id}: DHCP option {option.name!r}: {reason}")
            continue
        prefix = "option" if option.ip_version == 4 else "option6"
        yield f"tag:port-{host.port_id},{prefix}:{option.name},{option.value}"


def _refusal(option: DhcpOption, known: frozenset[str]) -> str:
    """Why an option cannot be given to dnsmasq; "" if it can."""
    if option.name.isascii() and option.name.isdigit():
        if not 1 <= int(option.name) <= 254:
            return "number out of range"
    elif not OPTION_NAME.fullmatch(option.name) or option.name not in known:
        return "not a known name"
    if len(option.value) > MAX_OPTION_CHARS or not OPTION_VALUE.fullmatch(option.value):
        return "value too long or with characters that are not printable"
    return ""
