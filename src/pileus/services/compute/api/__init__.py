"""The compute API: every route of every resource."""

from pileus.services.compute.api import (
    aggregates,
    availability_zones,
    extensions,
    flavor_access,
    flavor_extra_specs,
    flavors,
    hypervisors,
    keypairs,
    limits,
    quota_class_sets,
    quota_sets,
    server_groups,
    services,
    tenant_usage,
    versions,
)
from pileus.services.compute.api.servers import ROUTES as SERVER_ROUTES
from pileus.services.compute.api.strict_queries import strict

WITH_QUERIES = (
    "list_flavors", "list_flavors_in_detail", "list_keypairs", "show_keypair", "delete_keypair", "list_groups",
    "list_servers", "list_servers_in_detail", "list_actions", "show_limits", "show_quotas", "show_detail",
    "update_quotas", "delete_quotas", "list_usages", "show_usage", "list_hypervisors", "list_hypervisors_in_detail",
    "show_hypervisor", "list_services",
)
"""Handlers that read the query, and check it themselves."""

_ALL = (
    *versions.ROUTES, *extensions.ROUTES,
    *flavors.ROUTES, *flavor_access.ROUTES, *flavor_extra_specs.ROUTES, *keypairs.ROUTES, *server_groups.ROUTES,
    *SERVER_ROUTES,
    *limits.ROUTES, *quota_sets.ROUTES, *quota_class_sets.ROUTES, *tenant_usage.ROUTES,
    *availability_zones.ROUTES, *hypervisors.ROUTES, *services.ROUTES, *aggregates.ROUTES,
)

ROUTES = strict(_ALL, WITH_QUERIES)
