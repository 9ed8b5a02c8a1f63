"""Routers as network namespaces with iptables NAT."""

from .driver import NetnsL3Driver, NetnsL3Settings

__all__ = ["NetnsL3Driver", "NetnsL3Settings"]
