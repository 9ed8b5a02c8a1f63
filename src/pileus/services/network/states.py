"""States that users read, and how a port's state follows from what agents reported."""

from __future__ import annotations

from typing import Final

ACTIVE: Final = "ACTIVE"
DOWN: Final = "DOWN"
ERROR: Final = "ERROR"

VIF_UNBOUND: Final = "unbound"
VIF_BINDING_FAILED: Final = "binding_failed"

OWNER_DHCP: Final = "network:dhcp"
OWNER_ROUTER_INTERFACE: Final = "network:router_interface"
OWNER_ROUTER_GATEWAY: Final = "network:router_gateway"
OWNER_FLOATING_IP: Final = "network:floatingip"
ROUTER_OWNERS: Final = (OWNER_ROUTER_INTERFACE, OWNER_ROUTER_GATEWAY)
AUTO_DELETED_OWNERS: Final = (OWNER_DHCP,)
"""Ports that go away with their network or subnet."""


def port_status(*, l2_up: bool, dhcp_ready: bool, needs_dhcp: bool, failed: bool = False) -> str:
    """A port is ACTIVE when its device is wired and, where its address comes by DHCP, the lease is there."""
    if failed:
        return ERROR
    return ACTIVE if l2_up and (dhcp_ready or not needs_dhcp) else DOWN
