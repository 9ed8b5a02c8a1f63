"""What a subnet may be: everything that can be said without looking at other subnets."""

from __future__ import annotations

import ipaddress
from typing import Any

from pileus.services.network.errors import InvalidInput
from pileus.services.network.logic.addresses import IpNetwork, check_pools, default_gateway, default_pools, host_range

SLAAC_PREFIX = 64


def complete(values: dict[str, Any]) -> dict[str, Any]:
    """The columns of a new subnet from checked attributes: gateway and pools are filled in where not given.

    Keys that must be there: cidr, ip_version, enable_dhcp, host_routes, dns_nameservers; `gateway_ip` (None: none) and
    `allocation_pools` may be missing.
    """
    network = ipaddress.ip_network(values["cidr"])
    if network.version != values["ip_version"]:
        raise InvalidInput(reason=f"Invalid CIDR {network} for IP version {values['ip_version']}")
    _check_kind(network, values["enable_dhcp"])
    _check_modes(network, values)
    gateway = values.get("gateway_ip", default_gateway(network))
    check_gateway(network, gateway)
    check_routes(network, values["host_routes"])
    given = values.get("allocation_pools")
    pools = default_pools(network, gateway) if given is None else check_pools(network, given, gateway)
    return values | {"gateway_ip": gateway, "allocation_pools": pools}


def changed(cidr: str, gateway_ip: str | None, pools: list[dict[str, str]], values: dict[str, Any]) -> dict[str, Any]:
    """The checked values of an update, on what the subnet has now."""
    network = ipaddress.ip_network(cidr)
    gateway = values.get("gateway_ip", gateway_ip)
    if "gateway_ip" in values:
        check_gateway(network, gateway)
    if "host_routes" in values:
        check_routes(network, values["host_routes"])
    if {"gateway_ip", "allocation_pools"} & set(values):
        found = check_pools(network, values.get("allocation_pools", pools), gateway)
        if "allocation_pools" in values:
            values = values | {"allocation_pools": found}
    return values


def _check_kind(network: IpNetwork, enable_dhcp: bool) -> None:
    if network.prefixlen == 0:
        raise InvalidInput(reason="0 is not allowed as CIDR prefix length")
    for name, bad in (("Multicast", network.is_multicast), ("Loopback", network.is_loopback)):
        if bad and enable_dhcp:
            raise InvalidInput(reason=f"{name} IP subnet is not supported if enable_dhcp is True")


def _check_modes(network: IpNetwork, values: dict[str, Any]) -> None:
    modes = {name: values[name] for name in ("ipv6_ra_mode", "ipv6_address_mode") if values.get(name)}
    if not modes:
        return
    if network.version == 4:
        raise InvalidInput(reason=f"{' and '.join(modes)} not valid when ip_version is 4")
    if not values["enable_dhcp"]:
        raise InvalidInput(reason="ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
    if len(set(modes.values())) > 1:
        raise InvalidInput(
            reason=f"ipv6_ra_mode set to '{modes['ipv6_ra_mode']}' with ipv6_address_mode set to "
            f"'{modes['ipv6_address_mode']}' is not valid. If both attributes are set, they must be the same value"
        )
    if modes.get("ipv6_address_mode") in ("slaac", "dhcpv6-stateless") and network.prefixlen != SLAAC_PREFIX:
        raise InvalidInput(
            reason=f"Invalid CIDR {network} for IPv6 address mode. Hosts make their addresses from 64 bits, which "
            "requires the prefix to be /64"
        )


def check_gateway(network: IpNetwork, gateway: str | None) -> None:
    """A gateway is a host, inside the subnet or on the link outside of it."""
    if gateway is None:
        return
    address = ipaddress.ip_address(gateway)
    if address.version != network.version:
        raise InvalidInput(reason=f"gateway_ip '{gateway}' does not match the ip_version '{network.version}'")
    hosts = host_range(network)
    inside = address in network and not (network.version == 6 and address == network.network_address)
    if (inside and not hosts.first <= int(address) <= hosts.last) or address.is_multicast or address.is_unspecified:
        raise InvalidInput(reason="Gateway is not valid on subnet")


def check_routes(network: IpNetwork, routes: list[dict[str, str]]) -> None:
    """Destination and next hop are of the subnet's version."""
    for route in routes:
        for name in ("destination", "nexthop"):
            if ipaddress.ip_network(route[name]).version != network.version:
                raise InvalidInput(
                    reason=f"host_routes: {name} '{route[name]}' does not match the ip_version '{network.version}'"
                )
