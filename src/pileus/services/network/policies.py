"""Every policy rule of the network API: names and defaults as operators' policy files know them.

A rule `create_port:fixed_ips` guards setting that attribute, `get_port:binding:host_id` guards seeing it, and
`create_port:fixed_ips:ip_address` guards one key inside it.
"""

from __future__ import annotations

from pileus.kernel.policy import Rule

ADMIN = "rule:admin_only"
MEMBER = "(rule:admin_only) or (role:member and project_id:%(project_id)s)"
READER = "(rule:admin_only) or (role:reader and project_id:%(project_id)s)"
NET_OWNER_MEMBER = "(rule:admin_only) or (role:member and rule:network_owner)"
NET_OWNER_READER = "(rule:admin_only) or (role:reader and rule:network_owner)"
SERVICE = "rule:service_api"
ANYBODY = "@"

_BASE = (
    Rule("context_is_admin", "role:admin", "Who counts as administrator."),
    Rule("context_is_advsvc", "role:advsvc or role:service", "Services that see everybody's networks."),
    Rule("service_api", "role:service"),
    Rule("admin_only", "rule:context_is_admin"),
    Rule("admin_or_owner", "rule:context_is_admin or project_id:%(project_id)s"),
    Rule("owner", "project_id:%(project_id)s"),
    Rule("network_owner", "project_id:%(network:project_id)s"),
    Rule("sg_owner", "project_id:%(security_group:project_id)s"),
    Rule("shared", "field:networks:shared=True"),
    Rule("external", "field:networks:router:external=True"),
    Rule("network_device", "field:port:device_owner=~^network:"),
)


def _rules(check: str, *names: str) -> tuple[Rule, ...]:
    return tuple(Rule(name, check) for name in names)


def _attributes(check: str, resource: str, verbs: tuple[str, ...], *names: str) -> tuple[Rule, ...]:
    return tuple(Rule(f"{verb}_{resource}:{name}", check) for verb in verbs for name in names)


CREATE, UPDATE, GET = "create", "update", "get"
_PROVIDER = ("provider:network_type", "provider:physical_network", "provider:segmentation_id")

_NETWORKS = (
    *_rules(MEMBER, "create_network", "update_network", "delete_network"),
    *_rules(f"{READER} or rule:shared or rule:external or rule:context_is_advsvc", "get_network"),
    *_attributes(ADMIN, "network", (CREATE, UPDATE), "shared", "router:external", "is_default", *_PROVIDER),
    *_attributes(ADMIN, "network", (GET,), *_PROVIDER),
    *_attributes(MEMBER, "network", (CREATE, UPDATE), "port_security_enabled"),
    *_rules(NET_OWNER_MEMBER, "create_subnet"),
    *_rules(f"{MEMBER} or (role:member and rule:network_owner)", "update_subnet", "delete_subnet"),
    *_rules(f"{READER} or rule:shared or rule:external or rule:context_is_advsvc", "get_subnet"),
    *_attributes(ADMIN, "subnet", (CREATE, UPDATE), "service_types"),
    *_rules(MEMBER, "create_subnetpool", "update_subnetpool", "delete_subnetpool"),
    *_rules(f"{READER} or rule:shared", "get_subnetpool"),
    *_attributes(ADMIN, "subnetpool", (CREATE, UPDATE), "shared", "is_default"),
)

_OWNER_OR_SERVICE = f"{NET_OWNER_MEMBER} or {SERVICE}"
_NOT_NETWORK_DEVICE = f"not rule:network_device or {NET_OWNER_MEMBER} or {SERVICE}"

_PORTS = (
    *_rules(f"{MEMBER} or {SERVICE}", "create_port", "update_port"),
    *_rules(f"{MEMBER} or {NET_OWNER_MEMBER} or {SERVICE}", "delete_port"),
    *_rules(f"{READER} or {NET_OWNER_READER} or {SERVICE}", "get_port"),
    *_attributes(_NOT_NETWORK_DEVICE, "port", (CREATE, UPDATE), "device_owner"),
    *_attributes(_OWNER_OR_SERVICE, "port", (CREATE,), "mac_address"),
    *_attributes(f"{ADMIN} or {SERVICE}", "port", (UPDATE,), "mac_address"),
    *_attributes(f"{_OWNER_OR_SERVICE} or rule:shared", "port", (CREATE, UPDATE), "fixed_ips", "fixed_ips:subnet_id"),
    *_attributes(_OWNER_OR_SERVICE, "port", (CREATE, UPDATE), "fixed_ips:ip_address"),
    *_attributes(_OWNER_OR_SERVICE, "port", (CREATE, UPDATE), "port_security_enabled"),
    *_attributes(NET_OWNER_MEMBER, "port", (CREATE, UPDATE), "allowed_address_pairs"),
    *_attributes(f"{ADMIN} or {SERVICE}", "port", (CREATE, UPDATE), "binding:host_id"),
    *_attributes(f"{ADMIN} or {SERVICE}", "port", (CREATE, UPDATE), "binding:profile"),
    *_attributes(f"{MEMBER} or {SERVICE}", "port", (CREATE, UPDATE), "binding:vnic_type"),
    *_attributes(
        f"{ADMIN} or {SERVICE}", "port", (GET,), "binding:host_id", "binding:profile", "binding:vif_type",
        "binding:vif_details",
    ),
)  # fmt: skip

_GATEWAY = ("external_gateway_info:enable_snat", "external_gateway_info:external_fixed_ips")

_ROUTERS = (
    *_rules(MEMBER, "create_router", "update_router", "delete_router"),
    *_rules(READER, "get_router"),
    *_rules(MEMBER, "add_router_interface", "remove_router_interface", "add_extraroutes", "remove_extraroutes"),
    *_attributes(MEMBER, "router", (CREATE, UPDATE), "external_gateway_info", "external_gateway_info:network_id"),
    *_attributes(ADMIN, "router", (CREATE, UPDATE), *_GATEWAY),
    *_rules(MEMBER, "create_floatingip", "update_floatingip", "delete_floatingip"),
    *_rules(READER, "get_floatingip"),
    *_attributes(ADMIN, "floatingip", (CREATE,), "floating_ip_address"),
)

_SECURITY_GROUPS = (
    *_rules(MEMBER, "create_security_group", "update_security_group", "delete_security_group"),
    *_rules(READER, "get_security_group"),
    *_rules(
        f"{MEMBER} or (role:member and rule:sg_owner)", "create_security_group_rule", "delete_security_group_rule"
    ),
    *_rules(f"{READER} or (role:reader and rule:sg_owner)", "get_security_group_rule"),
)

_TAGS = tuple(
    Rule(f"{verb}_{plural}_tags", READER if verb == GET else MEMBER)
    for plural in ("networks", "subnets", "subnetpools", "ports", "routers", "floatingips", "security_groups")
    for verb in (GET, UPDATE, "delete")
)

_CLOUD = (
    *_rules(READER, "get_quota", "get_quota_default"),
    *_rules(ADMIN, "get_quotas", "update_quota", "delete_quota"),
    *_rules(ADMIN, "get_agent", "update_agent", "delete_agent"),
    *_rules(ADMIN, "get_dhcp-networks", "get_l3-routers", "get_dhcp-agents", "get_l3-agents"),
    *_rules(ADMIN, "get_network_ip_availability"),
    *_rules(ANYBODY, "get_availability_zone", "get_extension"),
)

RULES = (*_BASE, *_NETWORKS, *_PORTS, *_ROUTERS, *_SECURITY_GROUPS, *_TAGS, *_CLOUD)
