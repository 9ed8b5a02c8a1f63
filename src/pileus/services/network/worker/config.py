"""Options of the network agents."""

from __future__ import annotations

from typing import Literal

import msgspec

from pileus.services.network.rpc import VXLAN_PORT


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may set for a host's network agents; `rt.config.agent` of the network service.

    l2_driver, l3_driver, dhcp_driver: the drivers. physical_networks: name in the API -> device or bridge on this
    host. external_bridges: bridges that this host makes and carries an address on, so that it is the way out for guests
    (`{}` where physical networks have switches and gateways of their own). masquerade: what leaves through them to
    elsewhere gets this host's address. tunnel_ip: this host's address for VXLAN (None: it carries no vxlan networks);
    the default is enough for one machine only.
    vxlan_port: UDP port. run_dir: files of the running dnsmasqs (None: /run/pileus/<cloud>/dhcp; every directory above
    must be passable for others). reconcile_interval_s: how often an agent looks after its host unasked.
    compare_interval_s: how long it believes that what it found right inside a namespace (addresses, routes, settings,
    an answering dnsmasq) still is; both together are the longest time that damage done by hand lasts.
    heartbeat_interval_s: how often it shows that it lives.
    """

    l2_driver: Literal["linuxbridge", "fake"] = "linuxbridge"
    l3_driver: Literal["netns", "fake"] = "netns"
    dhcp_driver: Literal["dnsmasq", "fake"] = "dnsmasq"
    physical_networks: dict[str, str] = msgspec.field(default_factory=lambda: {"public": "br-ex"})
    external_bridges: dict[str, str] = msgspec.field(default_factory=lambda: {"br-ex": "172.24.4.1/24"})
    masquerade: bool = True
    tunnel_ip: str | None = "127.0.0.1"
    vxlan_port: int = VXLAN_PORT
    run_dir: str | None = None
    reconcile_interval_s: float = 10.0
    compare_interval_s: float = 30.0
    heartbeat_interval_s: float = 10.0
