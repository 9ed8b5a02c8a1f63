"""The manifest of the identity service."""

from __future__ import annotations

from pileus.kernel.process import Role, Service
from pileus.services.identity import api, errors, policies
from pileus.services.identity.api.auth import session
from pileus.services.identity.config import IdentityConfig
from pileus.services.identity.tasks import bootstrap, upkeep

SERVICE = Service(
    type="identity",
    name="identity",
    description="Users, projects, roles, tokens and the catalogue",
    path="/identity",
    catalog_path="/identity/v3",
    usual_port=5000,
    config=IdentityConfig,
    routes=api.ROUTES,
    policies=policies.RULES,
    render_fault=errors.render,
    roles=(
        Role(name="identity-api", about="The identity API: tokens, users, projects, the catalogue."),
        Role(
            name="identity-upkeep", start=upkeep.start, once=True,
            about="Rotates token keys and drops what has expired.",
        ),
    ),
    db="pileus.services.identity.db",
    setup=bootstrap.set_up,
    authenticate=session.authenticate,
)
