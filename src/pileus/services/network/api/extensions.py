"""The extensions list: what of the network API is really here."""

from __future__ import annotations

from typing import Any

from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import Route
from pileus.services.network.errors import ExtensionsNotFound

EXTENSIONS: tuple[tuple[str, str, str], ...] = (
    ("agent", "agent", "Lists and manages the agents of the network service."),
    ("allowed-address-pairs", "Allowed Address Pairs", "Lets a port use further addresses."),
    ("availability_zone", "Availability Zone", "Lists the zones that agents are in."),
    ("binding", "Port Binding", "Binds ports to hosts."),
    ("dhcp_agent_scheduler", "DHCP Agent Scheduler", "Places networks' DHCP on agents."),
    ("dns-integration", "DNS Integration", "Gives ports names."),
    ("ext-gw-mode", "Neutron L3 Configurable external gateway mode", "Source NAT of a router can be switched off."),
    ("external-net", "Neutron external network", "Marks networks that lead outside."),
    ("extra_dhcp_opt", "Neutron Extra DHCP options", "Hands DHCP options to single ports."),
    ("extraroute", "Neutron Extra Route", "Static routes of routers."),
    ("extraroute-atomic", "Atomically add/remove extra routes", "Adds and removes single routes."),
    ("filter-validation", "Filter parameters validation", "Refuses filters that do not exist."),
    ("fip-port-details", "Floating IP Port Details Extension", "Shows where a floating IP leads."),
    ("ip-substring-filtering", "IP address substring filtering", "Finds ports by part of an address."),
    ("ip_allocation", "IP Allocation", "Says when a port gets its addresses."),
    ("l3_agent_scheduler", "L3 Agent Scheduler", "Places routers on agents."),
    ("net-mtu", "Network MTU", "Shows the MTU of networks."),
    ("net-mtu-writable", "Network MTU (writable)", "The MTU of networks can be set."),
    ("network-ip-availability", "Network IP Availability", "Counts used and free addresses."),
    ("network_availability_zone", "Network Availability Zone", "Zones of networks."),
    ("pagination", "Pagination support", "Lists in pages."),
    ("port-security", "Port Security", "Filtering of ports can be switched off."),
    ("port-security-groups-filtering", "Port filtering on security groups", "Finds ports by security group."),
    ("project-id", "project_id field enabled", "Resources have a project_id."),
    ("provider", "Provider Network", "Says what carries a network."),
    ("quota_details", "Quota details management support", "Shows how much of a quota is used."),
    ("quotas", "Quota management support", "Limits per project."),
    ("revision-if-match", "If-Match constraints based on revision_number", "Refuses changes of what has changed."),
    ("router", "Neutron L3 Router", "Routers and floating IPs."),
    ("router_availability_zone", "Router Availability Zone", "Zones of routers."),
    ("security-group", "security-group", "Stateful filtering of ports."),
    ("security-groups-normalized-cidr", "Normalized CIDR field for security group rules", "Shows the applied CIDR."),
    ("sorting", "Sorting support", "Lists in a chosen order."),
    ("standard-attr-description", "standard-attr-description", "Resources have a description."),
    ("standard-attr-revisions", "Resource revision numbers", "Resources count their changes."),
    ("standard-attr-tag", "Tag support for resources with standard attribute", "Resources have tags."),
    ("standard-attr-timestamp", "Resource timestamps", "Resources say when they were made and changed."),
    ("subnet_allocation", "Subnet Allocation", "Cuts subnets from pools."),
    ("subnet-service-types", "Subnet service types", "Keeps a subnet for certain kinds of ports."),
)
UPDATED = "2026-01-01T00:00:00-00:00"


def _view(alias: str, name: str, description: str) -> dict[str, Any]:
    return {"alias": alias, "name": name, "description": description, "updated": UPDATED, "links": []}


async def list_extensions(call: Call[None]) -> dict[str, Any]:
    return {"extensions": [_view(*extension) for extension in EXTENSIONS]}


async def show_extension(call: Call[None]) -> dict[str, Any]:
    for extension in EXTENSIONS:
        if extension[0] == call.path["alias"]:
            return {"extension": _view(*extension)}
    raise ExtensionsNotFound(id=call.path["alias"])


ROUTES = (
    Route(method="GET", path="/v2.0/extensions", handler=list_extensions, policy="get_extension"),
    Route(method="GET", path="/v2.0/extensions/{alias}", handler=show_extension, policy="get_extension"),
)
