"""Identity's API: every route."""

from pileus.services.identity.api import (
    domains,
    endpoints,
    grants,
    groups,
    implied_roles,
    project_tags,
    projects,
    regions,
    role_assignments,
    roles,
    services,
    users,
    versions,
)
from pileus.services.identity.api.auth import reach, tokens

ROUTES = (
    *versions.ROUTES,
    *tokens.ROUTES,
    *reach.ROUTES,
    *domains.ROUTES,
    *projects.ROUTES,
    *project_tags.ROUTES,
    *users.ROUTES,
    *groups.ROUTES,
    *roles.ROUTES,
    *implied_roles.ROUTES,
    *grants.ROUTES,
    *role_assignments.ROUTES,
    *regions.ROUTES,
    *services.ROUTES,
    *endpoints.ROUTES,
)
