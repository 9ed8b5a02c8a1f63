"""Every policy rule of the placement API: names and defaults as operators' policy files know them."""

from __future__ import annotations

from pileus.kernel.policy import Rule

ADMIN_OR_SERVICE = "rule:admin_or_service_api"


def _group(prefix: str, *names: str) -> tuple[Rule, ...]:
    return tuple(Rule(f"placement:{prefix}:{name}", ADMIN_OR_SERVICE) for name in names)


RULES = (
    Rule("admin_api", "role:admin", "Who counts as administrator."),
    Rule("service_api", "role:service", "Who counts as a sibling service."),
    Rule("admin_or_service_api", "role:admin or role:service", "The default of most rules."),
    Rule("project_reader_api", "role:reader and project_id:%(project_id)s"),
    Rule("admin_or_project_reader_or_service_api", "role:admin or rule:project_reader_api or role:service"),
    *_group("resource_providers", "list", "create", "show", "update", "delete"),
    *_group("resource_classes", "list", "create", "show", "update", "delete"),
    *_group("resource_providers:inventories", "list", "create", "show", "update", "delete"),
    *_group("resource_providers:aggregates", "list", "update"),
    *_group("resource_providers:traits", "list", "update", "delete"),
    *_group("traits", "list", "show", "update", "delete"),
    *_group("resource_providers", "usages", "allocations:list"),
    Rule("placement:usages", "rule:admin_or_project_reader_or_service_api"),
    *_group("allocations", "list", "manage", "update", "delete"),
    *_group("allocation_candidates", "list"),
    Rule("placement:reshaper:reshape", "rule:service_api", "Only services know what a reshape needs."),
)
