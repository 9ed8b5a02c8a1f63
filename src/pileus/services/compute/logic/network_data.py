"""network_data.json: the guest's interfaces, addresses and routes, for those that configure themselves without DHCP.

Field names are those of the public metadata API.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from pileus.services.compute.clients.network import Subnet
from pileus.services.compute.db.servers import Vif, VifAddress

DEVICE_ID_CHARS = 11


def network_data(vifs: tuple[Vif, ...], subnets: Iterable[Subnet]) -> dict[str, Any]:
    """Links, networks and services (DNS)."""
    known = {subnet.id: subnet for subnet in subnets}
    links, networks, servers = [], [], []
    for vif in vifs:
        device = f"tap{vif.port_id[:DEVICE_ID_CHARS]}"
        links.append({
            "id": device, "vif_id": vif.port_id, "type": "bridge", "mtu": vif.mtu, "ethernet_mac_address": vif.mac,
        })
        for address in vif.addresses:
            subnet = known.get(address.subnet_id)
            if subnet is not None:
                networks.append(_network(f"network{len(networks)}", device, vif, address, subnet))
                servers += list(subnet.dns_nameservers)
    return {
        "links": links, "networks": networks,
        "services": [{"type": "dns", "address": address} for address in dict.fromkeys(servers)],
    }


def _network(network_id: str, device: str, vif: Vif, address: VifAddress, subnet: Subnet) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": network_id, "network_id": vif.network_id, "link": device,
        "services": [{"type": "dns", "address": server} for server in subnet.dns_nameservers],
    }
    if subnet.enable_dhcp and address.version == 4:
        return shown | {"type": "ipv4_dhcp"}
    if subnet.ipv6_address_mode:
        return shown | {"type": f"ipv6_{subnet.ipv6_address_mode}"}
    network = ipaddress.ip_network(subnet.cidr, strict=False)
    routes = [_route(route["destination"], route["nexthop"]) for route in subnet.host_routes]
    if subnet.gateway_ip:
        routes.insert(0, _route("0.0.0.0/0" if address.version == 4 else "::/0", subnet.gateway_ip))
    return shown | {
        "type": f"ipv{address.version}", "ip_address": address.address, "netmask": str(network.netmask),
        "routes": routes,
    }


def _route(destination: str, gateway: str) -> dict[str, str]:
    network = ipaddress.ip_network(destination, strict=False)
    return {"network": str(network.network_address), "netmask": str(network.netmask), "gateway": gateway}
