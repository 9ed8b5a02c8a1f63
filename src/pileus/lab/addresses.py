"""Which address each host has. Labs cannot see each other, so all use the same ones."""

from __future__ import annotations

import ipaddress

from pileus.lab.layout import Layout, NetworkName

NETWORKS: dict[NetworkName, ipaddress.IPv4Network] = {
    "management": ipaddress.IPv4Network("10.20.0.0/24"),
    "tunnel": ipaddress.IPv4Network("10.21.0.0/24"),
    "external": ipaddress.IPv4Network("172.24.4.0/24"),  # as `pileus demo` wants it; guests get .10 and up
}
INTERNET = 1
"""The internet's number on the external network: guests' routers have it as gateway."""
ADMIN = 3
"""The number of the lab's own client host."""
VIRTUAL = 4
"""The number of the address that keepalived moves."""
SITE = "198.51.100.1"
"""An address that is somewhere in the internet, not on the external network."""
_FIRST_EXTERNAL = 5
_FIRST = 11


def home(layout: Layout) -> NetworkName:
    """The network on which the hosts' own addresses are."""
    return next(iter(layout.hosts.values())).nics[0]


def of_host(layout: Layout, host: str, network: NetworkName) -> str:
    """A host's address on one of its networks."""
    first = _FIRST_EXTERNAL if network == "external" else _FIRST
    return numbered(network, first + list(layout.hosts).index(host))


def management(layout: Layout, host: str) -> str:
    """A host's own address."""
    return of_host(layout, host, home(layout))


def numbered(network: NetworkName, number: int) -> str:
    """The address with that number on a network."""
    return str(NETWORKS[network][number])


def with_prefix(network: NetworkName, address: str) -> str:
    """`10.0.0.1` as `10.0.0.1/24`."""
    return f"{address}/{NETWORKS[network].prefixlen}"


def front(layout: Layout) -> str:
    """Where clients find the cloud: the virtual address, or that of the first host with an API."""
    if layout.with_engine("keepalived"):
        return numbered(home(layout), VIRTUAL)
    return management(layout, (layout.with_role("identity-api") or tuple(layout.hosts))[0])


def hosts_file(layout: Layout) -> str:
    """/etc/hosts: the same on all hosts of a lab."""
    lines = ["127.0.0.1 localhost", "::1 localhost", f"{front(layout)} cloud-front"]
    lines += [f"{management(layout, host)} {host}" for host in layout.hosts]
    lines += [f"{numbered(home(layout), ADMIN)} admin", f"{numbered('external', INTERNET)} internet"]
    return "\n".join(lines) + "\n"
