"""Every policy rule of the compute API: names and defaults as operators' policy files know them."""

from __future__ import annotations

from pileus.kernel.policy import Rule

ADMIN = "rule:context_is_admin"
MEMBER = "rule:project_member_or_admin"
READER = "rule:project_reader_or_admin"
ANYBODY = "@"
OWN_USER = "(rule:context_is_admin) or user_id:%(user_id)s"

_BASE = (
    Rule("context_is_admin", "role:admin", "Who counts as administrator."),
    Rule("admin_api", "rule:context_is_admin"),
    Rule("service_api", "role:service"),
    Rule("project_member_api", "role:member and project_id:%(project_id)s"),
    Rule("project_reader_api", "role:reader and project_id:%(project_id)s"),
    Rule("project_member_or_admin", "rule:project_member_api or rule:context_is_admin"),
    Rule("project_reader_or_admin", "rule:project_reader_api or rule:context_is_admin"),
)


def _group(prefix: str, check: str, *names: str) -> tuple[Rule, ...]:
    full = f"os_compute_api:{prefix}"
    return tuple(Rule(f"{full}:{name}" if name else full, check) for name in names)


_SERVERS = (
    *_group("servers", READER, "index", "detail", "show", "show:flavor-extra-specs"),
    *_group("servers", ADMIN, "index:get_all_tenants", "detail:get_all_tenants", "allow_all_filters"),
    *_group("servers", MEMBER, "create", "create:attach_network"),
    *_group("servers", ADMIN, "create:forced_host", "create:zero_disk_flavor", "show:host_status"),
    Rule("os_compute_api:servers:show:host_status:unknown-only", ADMIN),
    Rule("compute:servers:create:requested_destination", ADMIN),
    *_group("servers", MEMBER, "update", "delete", "start", "stop", "reboot"),
    Rule("os_compute_api:os-deferred-delete:force", MEMBER),
    Rule("os_compute_api:os-admin-actions:reset_state", ADMIN),
    Rule("os_compute_api:os-console-output", MEMBER),
    Rule("os_compute_api:os-extended-server-attributes", ADMIN),
    *_group("os-lock-server", MEMBER, "lock", "unlock"),
    Rule("os_compute_api:os-lock-server:unlock:unlock_override", ADMIN),
    *_group("server-metadata", READER, "index", "show"),
    *_group("server-metadata", MEMBER, "create", "update", "update_all", "delete"),
    *_group("os-server-tags", READER, "index", "show"),
    *_group("os-server-tags", MEMBER, "update", "update_all", "delete", "delete_all"),
    *_group("ips", READER, "index", "show"),
    *_group("os-attach-interfaces", READER, "list", "show"),
    *_group("os-security-groups", READER, "list"),
    *_group("os-security-groups", MEMBER, "add", "remove"),
    *_group("os-instance-actions", READER, "list", "show"),
    *_group("os-instance-actions", ADMIN, "events", "events:details"),
    Rule("network:attach_external_network", ADMIN),
)

_CATALOGUE = (
    *_group("os-flavor-manage", ADMIN, "create", "update", "delete"),
    *_group("os-flavor-access", ADMIN, "", "add_tenant_access", "remove_tenant_access"),
    *_group("os-flavor-extra-specs", READER, "index", "show"),
    *_group("os-flavor-extra-specs", ADMIN, "create", "update", "delete"),
    *_group("os-keypairs", OWN_USER, "index", "show", "create", "delete"),
    *_group("os-server-groups", READER, "index", "show"),
    *_group("os-server-groups", MEMBER, "create", "delete"),
    Rule("os_compute_api:os-server-groups:index:all_projects", ADMIN),
    *_group("extensions", ANYBODY, ""),
)

_CLOUD = (
    *_group("os-availability-zone", ANYBODY, "list"),
    *_group("os-availability-zone", ADMIN, "detail"),
    *_group("os-hypervisors", ADMIN, "list", "list-detail", "show", "statistics", "uptime", "search", "servers"),
    *_group("os-services", ADMIN, "list", "update", "delete"),
    *_group("os-aggregates", ADMIN, "index", "show", "create", "update", "delete"),
    *_group("os-aggregates", ADMIN, "add_host", "remove_host", "set_metadata"),
)

_PROJECTS = (
    Rule("os_compute_api:limits", ANYBODY),
    Rule("os_compute_api:limits:other_project", ADMIN),
    Rule("os_compute_api:os-used-limits", ADMIN),
    *_group("os-quota-sets", READER, "show", "detail"),
    *_group("os-quota-sets", ANYBODY, "defaults"),
    *_group("os-quota-sets", ADMIN, "update", "delete"),
    *_group("os-quota-class-sets", ADMIN, "show", "update"),
    *_group("os-simple-tenant-usage", READER, "show"),
    *_group("os-simple-tenant-usage", ADMIN, "list"),
)

RULES = (*_BASE, *_SERVERS, *_CATALOGUE, *_CLOUD, *_PROJECTS)
