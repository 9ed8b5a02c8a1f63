"""DHCP by one dnsmasq per network, each in its own namespace."""

from .driver import DnsmasqDriver, DnsmasqSettings

__all__ = ["DnsmasqDriver", "DnsmasqSettings"]
