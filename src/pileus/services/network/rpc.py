"""Messages and desired-state structs between the network server and its agents.

This is the only file of the network service that callers on a host import.

How agents work (design rule 6). The server keeps the truth. An agent asks for everything its host should have
(`FetchHostNetworks`, `FetchHostRouters`, `FetchHostDhcp`), makes it so, and reports (`ReportPorts`,
`ReportRouters`, `ReportDhcp`). A doorbell (`HostChanged`) only says "ask again"; losing one costs time,
never work, because every agent also asks periodically. Agents never see the database.

Topics
    ``network-server``            calls from agents to the server (any server process may take them)
    ``network-l2@<host>``         doorbells to the L2 agent of a host
    ``network-l3@<host>``         doorbells to the L3 agent of a host
    ``network-dhcp@<host>``       doorbells to the DHCP agent of a host
    ``compute-metadata``          `MetadataRequest`, answered by the compute service

Generations. Each desired state carries `generation`, a number that never goes down for one (agent type,
host) and goes up when the desired state changes. Agents ignore an answer older than the one they hold, and
put the generation they reached into their reports, so that the server can tell "up, as of that change"
from "up, before it".

Units and spellings. Addresses and CIDRs are text in canonical form; MACs are lower case with colons; MTU
in bytes; ids are UUID text. Every list may be empty; None means "not set".
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from msgspec import Struct, field

from pileus.kernel.bus import Event, Message

SERVER_TOPIC: Final = "network-server"
METADATA_TOPIC: Final = "compute-metadata"

VXLAN_PORT: Final = 4789  # assigned by IANA
DEVICE_ID_CHARS: Final = 11  # Linux keeps 15 characters of a device name; prefix of at most 4 + 11 of the id

NetworkType = Literal["flat", "vlan", "vxlan", "local"]
AgentType = Literal["l2", "l3", "dhcp"]
PortStatus = Literal["ACTIVE", "DOWN", "ERROR"]


def agent_topic(agent_type: AgentType, host: str) -> str:
    """The doorbell topic of one agent."""
    return f"network-{agent_type}@{host}"


def tap_name(port_id: str) -> str:
    """Device name of a server's port; the compute agent makes the (persistent) tap under this name."""
    return f"tap{port_id[:DEVICE_ID_CHARS]}"


def bridge_name(network_id: str) -> str:
    """Device name of the bridge that carries a network on a host."""
    return f"brq{network_id[:DEVICE_ID_CHARS]}"


# --- L2: what a host's bridges and ports should be ------------------------------------------------


class FixedIp(Struct, frozen=True):
    """An address of a port. `prefix_length` is that of its subnet (24 for 10.0.0.5 in 10.0.0.0/24)."""

    ip_address: str
    prefix_length: int
    subnet_id: str = ""


class AddressPair(Struct, frozen=True):
    """An extra source address (or CIDR) a port may use; an empty `mac_address` means the port's own."""

    ip_address: str
    mac_address: str = ""


class SecurityRule(Struct, frozen=True, kw_only=True):
    """One allow rule, already resolved: remote groups and address groups are expanded into `remote_prefixes`.

    `protocol` is a name ("tcp", "udp", "icmp", "ipv6-icmp", ...) or a number as text; None is any.
    For icmp, `port_range_min` is the type and `port_range_max` the code, as in the API.
    `remote_prefixes` None means any remote; an empty tuple means "a group without members": nothing matches.
    """

    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"]
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_prefixes: tuple[str, ...] | None = None


class HostPort(Struct, frozen=True, kw_only=True):
    """A port bound to this host.

    `device_name` is what appears on the host: `tap_name(id)` for servers, and the host end of the veth
    pair for router and DHCP ports (the L3 and DHCP agents make those; use `tap_name(id)` for them too).
    `trusted` marks the cloud's own ports (DHCP, router): no filtering at all. The server must derive it
    from who created the port, never from a `device_owner` a tenant can write.
    `security_rules` are the union of the port's groups; ignored when `port_security_enabled` is False.
    """

    id: str
    network_id: str
    device_name: str
    mac_address: str
    fixed_ips: tuple[FixedIp, ...] = ()
    device_owner: str = ""
    device_id: str = ""
    admin_state_up: bool = True
    port_security_enabled: bool = True
    trusted: bool = False
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    security_rules: tuple[SecurityRule, ...] = ()


class FdbEntry(Struct, frozen=True):
    """Where a MAC lives: the tunnel address of the host that holds its port."""

    mac_address: str
    tunnel_ip: str


class HostNetwork(Struct, frozen=True, kw_only=True):
    """A network that this host must carry, because a port of it is bound here.

    `peers` are the tunnel addresses of the other hosts that hold ports of it (vxlan only; without this
    host's own); unknown and broadcast frames are flooded to each. `fdb` are optional, exact MAC locations.
    """

    id: str
    network_type: NetworkType
    mtu: int = 1500
    physical_network: str | None = None
    segmentation_id: int | None = None
    admin_state_up: bool = True
    peers: tuple[str, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()


class HostNetworks(Struct, frozen=True, kw_only=True):
    """Everything the L2 agent of `host` should have."""

    host: str
    generation: int
    networks: tuple[HostNetwork, ...] = ()
    ports: tuple[HostPort, ...] = ()


# --- L3: routers ----------------------------------------------------------------------------------


class RouterInterface(Struct, frozen=True, kw_only=True):
    """An internal interface: a port of the router in a tenant network (it answers as the gateway there)."""

    port_id: str
    network_id: str
    mac_address: str
    mtu: int
    fixed_ips: tuple[FixedIp, ...]
    ra_mode: Literal["", "slaac", "dhcpv6-stateful", "dhcpv6-stateless"] = ""  # IPv6 router advertisements


class RouterGateway(Struct, frozen=True, kw_only=True):
    """The port in the external network. `next_hops` are the gateway addresses of its subnets (IPv4 and/or
    IPv6)."""

    port_id: str
    network_id: str
    mac_address: str
    mtu: int
    fixed_ips: tuple[FixedIp, ...]
    next_hops: tuple[str, ...] = ()


class FloatingIp(Struct, frozen=True, kw_only=True):
    """A floating address that this router translates to a fixed one."""

    id: str
    floating_ip_address: str
    fixed_ip_address: str
    port_id: str


class ExtraRoute(Struct, frozen=True):
    """A static route of the router."""

    destination: str
    nexthop: str


class HostRouter(Struct, frozen=True, kw_only=True):
    """One router placed on this host. `admin_state_up` False means: namespace gone, nothing forwarded."""

    id: str
    admin_state_up: bool = True
    interfaces: tuple[RouterInterface, ...] = ()
    gateway: RouterGateway | None = None
    enable_snat: bool = True
    floating_ips: tuple[FloatingIp, ...] = ()
    routes: tuple[ExtraRoute, ...] = ()


class HostRouters(Struct, frozen=True, kw_only=True):
    """Everything the L3 agent of `host` should have.

    The router's ports are also bound ports of this host: they appear (trusted) in its `HostNetworks`.
    """

    host: str
    generation: int
    routers: tuple[HostRouter, ...] = ()


# --- DHCP -----------------------------------------------------------------------------------------


class HostRoute(Struct, frozen=True):
    """A route handed to guests (DHCP option 121)."""

    destination: str
    nexthop: str


class DhcpSubnet(Struct, frozen=True, kw_only=True):
    """A subnet of a DHCP network. With `enable_dhcp` False its hosts get no lease (metadata may still be
    served)."""

    id: str
    cidr: str
    ip_version: Literal[4, 6] = 4
    gateway_ip: str | None = None
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[HostRoute, ...] = ()
    enable_dhcp: bool = True
    ipv6_address_mode: Literal["", "slaac", "dhcpv6-stateful", "dhcpv6-stateless"] = ""
    ipv6_ra_mode: Literal["", "slaac", "dhcpv6-stateful", "dhcpv6-stateless"] = ""


class DhcpOption(Struct, frozen=True):
    """An extra DHCP option of one host: `name` is a dnsmasq option name or a number 1..254."""

    name: str
    value: str
    ip_version: Literal[4, 6] = 4


class DhcpHost(Struct, frozen=True, kw_only=True):
    """A port that gets its addresses by DHCP. `hostname` is one DNS label; `fqdn` ends without a dot."""

    port_id: str
    mac_address: str
    fixed_ips: tuple[FixedIp, ...] = ()
    hostname: str = ""
    extra_options: tuple[DhcpOption, ...] = ()


class DhcpNetwork(Struct, frozen=True, kw_only=True):
    """A network whose DHCP service runs on this host.

    `port_id`, `mac_address`, `fixed_ips`: the DHCP port (one address per subnet).
    `dns_domain`: domain name handed out ("" = none). `metadata` True: serve 169.254.169.254 on the DHCP
    port and hand out a route to it (for subnets without a router, or always).
    `agent_ips`: all DHCP ports' IPv4 addresses of this network, used as DNS servers when a subnet names none.
    """

    id: str
    port_id: str
    mac_address: str
    mtu: int
    fixed_ips: tuple[FixedIp, ...]
    subnets: tuple[DhcpSubnet, ...] = ()
    hosts: tuple[DhcpHost, ...] = ()
    dns_domain: str = ""
    agent_ips: tuple[str, ...] = ()
    metadata: bool = True


class HostDhcp(Struct, frozen=True, kw_only=True):
    """Everything the DHCP agent of `host` should have. Its DHCP ports also appear (trusted) in
    `HostNetworks`."""

    host: str
    generation: int
    networks: tuple[DhcpNetwork, ...] = ()


# --- Calls: agent -> server (topic SERVER_TOPIC) --------------------------------------------------


class ReportAccepted(Struct, frozen=True):
    """Answer to reports and heartbeats. `generation` is the server's newest for this agent; if it is
    higher than the agent's own, the agent fetches at once (a doorbell was lost)."""

    generation: int = 0


class FetchHostNetworks(Message, frozen=True, kw_only=True):
    """Call. What should the L2 agent of `host` have? Answer: `HostNetworks`. Unknown host: empty state."""

    traced: ClassVar[bool] = False
    reply: ClassVar[Any] = HostNetworks
    host: str


class FetchHostRouters(Message, frozen=True, kw_only=True):
    """Call. What should the L3 agent of `host` have? Answer: `HostRouters`."""

    traced: ClassVar[bool] = False
    reply: ClassVar[Any] = HostRouters
    host: str


class FetchHostDhcp(Message, frozen=True, kw_only=True):
    """Call. What should the DHCP agent of `host` have? Answer: `HostDhcp`."""

    traced: ClassVar[bool] = False
    reply: ClassVar[Any] = HostDhcp
    host: str


class PortReport(Struct, frozen=True, kw_only=True):
    """State of one port on its host. `reason` says, for people, why it is ERROR or DOWN."""

    port_id: str
    status: PortStatus
    reason: str = ""


class ReportPorts(Message, frozen=True, kw_only=True):
    """Call. Ports whose state changed since the last report, as of `generation`. Answer: `ReportAccepted`.

    The server ignores ports that are not (any more) bound to `host`. DOWN means the device is not there
    (yet). """

    traced: ClassVar[bool] = False
    reply: ClassVar[Any] = ReportAccepted
    host: str
    generation: int
    ports: tuple[PortReport, ...]


class RouterReport(Struct, frozen=True, kw_only=True):
    """State of one router on its host; `floating_ips` are the ids of floating addresses that now work."""

    router_id: str
    status: Literal["ACTIVE", "ERROR"]
    reason: str = ""
    floating_ips: tuple[str, ...] = ()


class ReportRouters(Message, frozen=True, kw_only=True):
    """Call. Routers whose state changed since the last report. Answer: `ReportAccepted`."""

    traced: ClassVar[bool] = False
    reply: ClassVar[Any] = ReportAccepted
    host: str
    generation: int
    routers: tuple[RouterReport, ...]


class DhcpReport(Struct, frozen=True, kw_only=True):
    """State of one DHCP network; `port_ids` are the hosts whose lease is now provisioned."""

    network_id: str
    status: Literal["ACTIVE", "ERROR"]
    reason: str = ""
    port_ids: tuple[str, ...] = ()


class ReportDhcp(Message, frozen=True, kw_only=True):
    """Call. DHCP networks whose state changed since the last report. Answer: `ReportAccepted`.

    A server port with DHCP should become ACTIVE only when its lease is provisioned too, else the guest may
    ask before there is an answer.
    """

    traced: ClassVar[bool] = False
    reply: ClassVar[Any] = ReportAccepted
    host: str
    generation: int
    networks: tuple[DhcpReport, ...]


class AgentHeartbeat(Message, frozen=True, kw_only=True):
    """Call, sent every `heartbeat_interval_s`. Shows the agent as alive in the agents API. Answer:
    `ReportAccepted`.

    `binary` and `description` are what the API shows ("pileus-l2-agent", "Linux bridge agent").
    `configurations`: free-form, as shown by the API (physical_networks, tunneling_ip, tunnel_types, mtu,
    ...). `resource_counts`: e.g. {"ports": 3, "networks": 1}. `started_at`: ISO 8601 UTC.
    `fresh_start` is True in the first heartbeat after the agent's start.
    """

    traced: ClassVar[bool] = False
    reply: ClassVar[Any] = ReportAccepted
    host: str
    agent_type: AgentType
    binary: str
    description: str
    started_at: str
    configurations: dict[str, Any] = field(default_factory=dict)
    resource_counts: dict[str, int] = field(default_factory=dict)
    fresh_start: bool = False


# --- Doorbell: server -> agent (topic agent_topic(type, host)) ------------------------------------


class HostChanged(Message, frozen=True, kw_only=True):
    """Cast. The desired state of this agent changed: fetch again. Carries nothing that matters but the
    hint."""

    traced: ClassVar[bool] = False
    generation: int = 0


# --- Metadata: agent -> whoever answers for guests ------------------------------------------------


class MetadataResponse(Struct, frozen=True):
    """Answer to `MetadataRequest`. Unknown source: 404."""

    status: int
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""


class MetadataRequest(Message, frozen=True, kw_only=True):
    """Call. A guest asked for metadata. The caller is known by where the request came in, not by its headers.

    Exactly one of `network_id` (came in through a DHCP namespace) and `router_id` (through a router
    namespace) is set. `source_ip` is the peer address. `headers` are lower case; identity-like ones are
    removed already. """

    reply: ClassVar[Any] = MetadataResponse
    source_ip: str
    method: str
    path: str
    network_id: str | None = None
    router_id: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class MetadataPort(Struct, frozen=True):
    """Answer to `FindMetadataPort`: the port, and the server (`device_id`) and project it belongs to."""

    port_id: str = ""
    device_id: str = ""
    project_id: str = ""


class FindMetadataPort(Message, frozen=True, kw_only=True):
    """Call to SERVER_TOPIC. Which port has `source_ip` in this network, or behind this router?

    Answer: `MetadataPort`; not found: `port_id` is "" (never a port of another network or router).
    """

    reply: ClassVar[Any] = MetadataPort
    source_ip: str
    network_id: str | None = None
    router_id: str | None = None


# --- Events: server -> whoever wants to know --------------------------------------------------------


class PortStatusChanged(Event, frozen=True, kw_only=True):
    """A port became ACTIVE, DOWN or ERROR, or is gone ("DELETED"). A doorbell: the API has the truth."""

    port_id: str
    status: str
    device_id: str = ""
    host: str = ""


class FloatingIpChanged(Event, frozen=True, kw_only=True):
    """A floating IP leads to a port now, or does so no longer. device_id: what the port belongs to. A doorbell."""

    floating_ip_id: str
    port_id: str
    device_id: str = ""
