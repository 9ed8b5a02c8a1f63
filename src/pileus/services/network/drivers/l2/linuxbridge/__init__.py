"""Linux bridges, kernel VXLAN, iptables security groups and nftables anti-spoofing."""

from .driver import LinuxBridgeDriver, LinuxBridgeSettings

__all__ = ["LinuxBridgeDriver", "LinuxBridgeSettings"]
