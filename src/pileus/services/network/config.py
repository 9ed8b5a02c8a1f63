"""Every option of the network service."""

from __future__ import annotations

from typing import Literal

import msgspec

from pileus.services.network.worker.config import AgentConfig


class NetworkConfig(AgentConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Table [network]. Options of the agents are those of `AgentConfig`; the server's are:

    mechanism_driver: who binds ports to hosts; None: `fake` with the fake L2 driver, else `linuxbridge`.
    tenant_network_types: tried in order for networks without provider attributes.
    vni_ranges, vlan_ranges: first and last id that may be allocated; VLANs per physical network.
    flat_networks: physical networks that may be used flat ("*": any). global_physnet_mtu: bytes.
    vxlan_overhead: bytes that a vxlan tunnel adds. base_mac: first three octets of allocated MACs.
    dns_domain: of networks without one of their own. agent_down_time_s: an agent whose heartbeat is older is dead.
    schedule_interval_s: how often unplaced networks and routers are looked for. max_allowed_address_pairs,
    max_routes, max_fixed_ips_per_port, max_dns_nameservers, max_host_routes: per port, router, subnet.
    availability_zone: where the agents are. quotas: default limits ({"port": 500}).
    """

    mechanism_driver: Literal["linuxbridge", "fake"] | None = None
    tenant_network_types: tuple[Literal["vxlan", "vlan", "flat"], ...] = ("vxlan",)
    vni_ranges: tuple[tuple[int, int], ...] = ((1, 65_535),)
    vlan_ranges: dict[str, tuple[tuple[int, int], ...]] = msgspec.field(default_factory=dict)
    flat_networks: tuple[str, ...] = ("*",)
    global_physnet_mtu: int = 1500
    vxlan_overhead: int = 50
    base_mac: str = "fa:16:3e"
    dns_domain: str = "openstacklocal"
    agent_down_time_s: float = 75.0
    schedule_interval_s: float = 5.0
    max_allowed_address_pairs: int = 10
    max_routes: int = 30
    max_fixed_ips_per_port: int = 32
    max_dns_nameservers: int = 5
    max_host_routes: int = 20
    availability_zone: str = "nova"
    quotas: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def agent(self) -> AgentConfig:
        """The agents' part."""
        return self

    @property
    def mechanism(self) -> str:
        """The mechanism driver in use."""
        return self.mechanism_driver or ("fake" if self.l2_driver == "fake" else "linuxbridge")
