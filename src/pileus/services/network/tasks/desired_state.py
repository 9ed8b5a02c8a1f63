"""What agents should have, read from the database in a number of queries that does not grow with the host's ports.

The generation is read first: if something changes in between, the answer is newer than its number says, and the
agent asks once more.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.network.db import agents, networks, ports, routers, security_groups, subnets
from pileus.services.network.db.floating_ips import FLOATING_IPS, load_where
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.networks import Network
from pileus.services.network.db.ports import ADDRESSES, PORT_GROUPS, PORTS, Port, WiredPort
from pileus.services.network.db.routers import GATEWAY, ROUTERS, Plug, Router
from pileus.services.network.db.subnets import Subnet
from pileus.services.network.logic.dns import hostname
from pileus.services.network.rpc import (
    AddressPair,
    DhcpHost,
    DhcpNetwork,
    DhcpOption,
    DhcpSubnet,
    ExtraRoute,
    FixedIp,
    FloatingIp,
    HostDhcp,
    HostNetwork,
    HostNetworks,
    HostPort,
    HostRoute,
    HostRouter,
    HostRouters,
    RouterGateway,
    RouterInterface,
    SecurityRule,
    tap_name,
)


def _fixed_ips(port: Port | WiredPort, known: Mapping[str, Subnet]) -> tuple[FixedIp, ...]:
    return tuple(
        FixedIp(a.ip_address, known[a.subnet_id].prefix_length, a.subnet_id)
        for a in port.fixed_ips
        if a.subnet_id in known
    )


def _subnets_of(tx: Tx, found: Iterable[Port | WiredPort]) -> dict[str, Subnet]:
    return {s.id: s for s in subnets.of_networks(tx, {port.network_id for port in found})}


# --- L2 ---------------------------------------------------------------------------------------------------------


def networks_of_host(tx: Tx, host: str) -> HostNetworks:
    """Everything the L2 agent of a host should have. Ports whose binding failed are not among it."""
    generation = agents.generation(tx, "l2", host)
    bound = ports.load_wired(tx, PORTS.c.host == host, PORTS.c.vif_type.not_in(("unbound", "binding_failed")))
    known = networks.by_ids(tx, {port.network_id for port in bound})
    cidrs = _subnets_of(tx, bound)
    rules = _rules_of(tx, {group for port in bound if not port.trusted for group in port.security_groups})
    peers = _peers(tx, host, [n.id for n in known.values() if n.network_type == "vxlan"])
    return HostNetworks(
        host=host,
        generation=generation,
        networks=tuple(
            HostNetwork(
                id=network.id, network_type=network.network_type, mtu=network.mtu,  # type: ignore[arg-type]
                physical_network=network.physical_network, segmentation_id=network.segmentation_id,
                admin_state_up=network.admin_state_up, peers=tuple(peers.get(network.id, ())),
            )
            for network in sorted(known.values(), key=lambda n: n.id)
        ),
        ports=tuple(_host_port(port, cidrs, rules) for port in bound),
    )  # fmt: skip


def _host_port(port: WiredPort, known: Mapping[str, Subnet], rules: Mapping[str, list[SecurityRule]]) -> HostPort:
    allowed = dict.fromkeys(rule for group in port.security_groups for rule in rules.get(group, ()))
    return HostPort(
        id=port.id, network_id=port.network_id, device_name=tap_name(port.id), mac_address=port.mac_address,
        fixed_ips=_fixed_ips(port, known), device_owner=port.device_owner, device_id=port.device_id,
        admin_state_up=port.admin_state_up, port_security_enabled=port.port_security_enabled, trusted=port.trusted,
        allowed_address_pairs=tuple(
            AddressPair(pair["ip_address"], pair["mac_address"]) for pair in port.allowed_address_pairs
        ),
        security_rules=tuple(allowed),
    )  # fmt: skip


def _rules_of(tx: Tx, group_ids: Iterable[str]) -> dict[str, list[SecurityRule]]:
    """Rules by group, remote groups spelled out as the addresses of their members."""
    by_group = security_groups.rules_of(tx, group_ids)
    named = {rule.remote_group_id for rules in by_group.values() for rule in rules if rule.remote_group_id}
    members = _members(tx, named)
    found: dict[str, list[SecurityRule]] = {}
    for group_id, rules in by_group.items():
        found[group_id] = []
        for rule in rules:
            version = 4 if rule.ethertype == "IPv4" else 6
            prefixes: tuple[str, ...] | None = None
            if rule.remote_group_id:
                prefixes = tuple(members.get((rule.remote_group_id, version), ()))
            elif rule.remote_ip_prefix:
                prefixes = (rule.remote_ip_prefix,)
            found[group_id].append(
                SecurityRule(
                    direction=rule.direction, ethertype=rule.ethertype, protocol=rule.protocol,  # type: ignore[arg-type]
                    port_range_min=rule.port_range_min, port_range_max=rule.port_range_max,
                    remote_prefixes=prefixes,
                )
            )  # fmt: skip
    return found


def _members(tx: Tx, group_ids: Iterable[str]) -> dict[tuple[str, int], list[str]]:
    """Prefixes of the members of groups, by group and IP version, sorted: fixed addresses and allowed pairs."""
    wanted = sorted(group_ids)
    if not wanted:
        return {}
    found: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    own = (
        select(PORT_GROUPS.c.security_group_id, ADDRESSES.c.ip_address)
        .join(ADDRESSES, ADDRESSES.c.port_id == PORT_GROUPS.c.port_id)
        .where(PORT_GROUPS.c.security_group_id.in_(wanted))
    )
    for row in tx.all(own):
        network = ipaddress.ip_network(row.ip_address)
        found[row.security_group_id, network.version].add(str(network))
    pairs = (
        select(PORT_GROUPS.c.security_group_id, PORTS.c.allowed_address_pairs)
        .join(PORTS, PORTS.c.id == PORT_GROUPS.c.port_id)
        .where(PORT_GROUPS.c.security_group_id.in_(wanted), PORTS.c.allowed_address_pairs != [])
    )
    for row in tx.all(pairs):
        for pair in row.allowed_address_pairs:
            network = ipaddress.ip_network(pair["ip_address"], strict=False)
            found[row.security_group_id, network.version].add(str(network))
    return {key: sorted(prefixes) for key, prefixes in found.items()}


def _peers(tx: Tx, host: str, network_ids: list[str]) -> dict[str, list[str]]:
    """Tunnel addresses of the other hosts that have ports of these networks."""
    if not network_ids:
        return {}
    c = PORTS.c
    others = select(c.network_id, c.host).where(c.network_id.in_(network_ids), c.host.not_in(("", host))).distinct()
    rows = tx.all(others)
    if not rows:
        return {}
    tunnels = {agent.host: agent.configurations.get("tunneling_ip") for agent in agents.of_kind(tx, "l2")}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if tunnel := tunnels.get(row.host):
            found[row.network_id].add(tunnel)
    return {key: sorted(ips - {tunnels.get(host)}) for key, ips in found.items()}


# --- L3 ---------------------------------------------------------------------------------------------------------


def routers_of_host(tx: Tx, host: str) -> HostRouters:
    """Everything the L3 agent of a host should have."""
    generation = agents.generation(tx, "l3", host)
    found = routers.load_where(tx, ROUTERS.c.host == host)
    ids = [router.id for router in found]
    plugs: defaultdict[str, list[Plug]] = defaultdict(list)
    for plug in routers.plugs(tx, ids):
        plugs[plug.router_id].append(plug)
    every_port = [plug.port for group in plugs.values() for plug in group]
    known, cidrs = networks.by_ids(tx, {port.network_id for port in every_port}), _subnets_of(tx, every_port)
    floating: defaultdict[str, list[FloatingIp]] = defaultdict(list)
    for item in load_where(tx, FLOATING_IPS.c.router_id.in_(ids), FLOATING_IPS.c.port_id.is_not(None)):
        floating[item.router_id or ""].append(
            FloatingIp(
                id=item.id, floating_ip_address=item.floating_ip_address,
                fixed_ip_address=item.fixed_ip_address or "", port_id=item.port_id or "",
            )
        )  # fmt: skip
    return HostRouters(
        host=host,
        generation=generation,
        routers=tuple(_host_router(router, plugs[router.id], known, cidrs, floating[router.id]) for router in found),
    )


def _host_router(
    router: Router, plugs: list[Plug], known: Mapping[str, Network], cidrs: Mapping[str, Subnet],
    floating: list[FloatingIp],
) -> HostRouter:  # fmt: skip
    gateway = None
    interfaces = []
    for plug in plugs:
        port, own = plug.port, [cidrs[a.subnet_id] for a in plug.port.fixed_ips if a.subnet_id in cidrs]
        mtu, addresses = known[port.network_id].mtu, _fixed_ips(port, cidrs)
        if plug.kind == GATEWAY:
            hops = tuple(subnet.gateway_ip for subnet in own if subnet.gateway_ip)
            gateway = RouterGateway(
                port_id=port.id, network_id=port.network_id, mac_address=port.mac_address, mtu=mtu,
                fixed_ips=addresses, next_hops=hops,
            )  # fmt: skip
        else:
            mode = next((subnet.ipv6_ra_mode for subnet in own if subnet.ipv6_ra_mode), None) or ""
            interfaces.append(
                RouterInterface(
                    port_id=port.id, network_id=port.network_id, mac_address=port.mac_address, mtu=mtu,
                    fixed_ips=addresses, ra_mode=mode,  # type: ignore[arg-type]
                )
            )  # fmt: skip
    return HostRouter(
        id=router.id, admin_state_up=router.admin_state_up, interfaces=tuple(interfaces), gateway=gateway,
        enable_snat=router.enable_snat, floating_ips=tuple(sorted(floating, key=lambda f: f.id)),
        routes=tuple(ExtraRoute(route["destination"], route["nexthop"]) for route in router.routes),
    )  # fmt: skip


# --- DHCP -------------------------------------------------------------------------------------------------------


def dhcp_of_host(tx: Tx, fabric: Fabric, host: str) -> HostDhcp:
    """Everything the DHCP agent of a host should have."""
    generation = agents.generation(tx, "dhcp", host)
    served = agents.dhcp_of_host(tx, host)
    known = networks.by_ids(tx, served)
    by_network: defaultdict[str, list[WiredPort]] = defaultdict(list)
    for port in ports.load_wired(tx, PORTS.c.network_id.in_(list(served))):
        by_network[port.network_id].append(port)
    cidrs: defaultdict[str, list[Subnet]] = defaultdict(list)
    for subnet in subnets.of_networks(tx, served):
        cidrs[subnet.network_id].append(subnet)
    found = []
    for network_id, port_id in sorted(served.items()):
        own = next((port for port in by_network[network_id] if port.id == port_id), None)
        if own is not None and network_id in known:
            others = [port for port in by_network[network_id] if port.id != port_id]
            found.append(_dhcp_network(fabric, known[network_id], own, others, cidrs[network_id]))
    return HostDhcp(host=host, generation=generation, networks=tuple(found))


def _dhcp_network(
    fabric: Fabric, network: Network, own: WiredPort, others: list[WiredPort], cidrs: list[Subnet]
) -> DhcpNetwork:
    known = {subnet.id: subnet for subnet in cidrs}
    addresses = _fixed_ips(own, known)
    return DhcpNetwork(
        id=network.id, port_id=own.id, mac_address=own.mac_address, mtu=network.mtu, fixed_ips=addresses,
        subnets=tuple(_dhcp_subnet(subnet) for subnet in cidrs),
        hosts=tuple(_dhcp_host(port, known) for port in others if not port.trusted and port.fixed_ips),
        dns_domain=network.dns_domain or fabric.config.dns_domain,
        agent_ips=tuple(a.ip_address for a in addresses if ":" not in a.ip_address),
    )  # fmt: skip


def _dhcp_subnet(subnet: Subnet) -> DhcpSubnet:
    return DhcpSubnet(
        id=subnet.id, cidr=subnet.cidr, ip_version=subnet.ip_version,  # type: ignore[arg-type]
        gateway_ip=subnet.gateway_ip, dns_nameservers=tuple(subnet.dns_nameservers),
        host_routes=tuple(HostRoute(route["destination"], route["nexthop"]) for route in subnet.host_routes),
        enable_dhcp=subnet.enable_dhcp, ipv6_address_mode=subnet.ipv6_address_mode or "",  # type: ignore[arg-type]
        ipv6_ra_mode=subnet.ipv6_ra_mode or "",  # type: ignore[arg-type]
    )  # fmt: skip


def _dhcp_host(port: WiredPort, known: Mapping[str, Subnet]) -> DhcpHost:
    return DhcpHost(
        port_id=port.id, mac_address=port.mac_address, fixed_ips=_fixed_ips(port, known),
        hostname=hostname(port.dns_name, port.fixed_ips[0].ip_address),
        extra_options=tuple(
            DhcpOption(option["opt_name"], option["opt_value"], option["ip_version"])
            for option in port.extra_dhcp_opts
        ),
    )  # fmt: skip
