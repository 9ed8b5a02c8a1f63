"""What a token's user can get tokens for: /v3/auth/projects, domains, system, catalog."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, Call, Route
from pileus.services.identity.api import views
from pileus.services.identity.api.auth import view
from pileus.services.identity.api.guard import guarded
from pileus.services.identity.api.listing import collection
from pileus.services.identity.db import endpoints, projects, tokens
from pileus.services.identity.db.filters import Filter
from pileus.services.identity.db.projects import Project
from pileus.services.identity.errors import NotAllowed

ENABLED = Filter("enabled", True)


async def list_projects(call: Call[None]) -> dict[str, Any]:
    """Projects that the caller has a role on."""
    found = await call.rt.db.read(_projects, call.context.user_id or "")
    return collection(call, "projects", [views.project(call, project) for project in found])


async def list_domains(call: Call[None]) -> dict[str, Any]:
    """Domains that the caller has a role on."""
    found = await call.rt.db.read(_domains, call.context.user_id or "")
    return collection(call, "domains", [views.domain(call, domain) for domain in found])


async def list_system(call: Call[None]) -> dict[str, Any]:
    """Whether the caller has a role on the system."""
    _, _, system = await call.rt.db.read(tokens.reachable, call.context.user_id or "")
    return {"system": [{"all": True}] if system else [], "links": {"self": call.base_url + "/v3/auth/system"}}


async def show_catalog(call: Call[None]) -> dict[str, Any]:
    """The catalogue of the caller's token; an unscoped one has none."""
    context = call.context
    if context.project_id is None and context.domain_id is None and context.system_scope is None:
        raise NotAllowed(reason="an unscoped token has no catalog.")
    entries = await call.rt.db.read(endpoints.catalog)
    return {
        "catalog": view.catalog(entries, context.user_id or "", context.project_id),
        "links": {"self": call.base_url + "/v3/auth/catalog"},
    }


def _projects(tx: Tx, user_id: str) -> list[Project]:
    ids, _, _ = tokens.reachable(tx, user_id)
    return [project for project in projects.by_ids(tx, ids, (ENABLED,)) if _domain_enabled(tx, project)]


def _domains(tx: Tx, user_id: str) -> list[Project]:
    _, ids, _ = tokens.reachable(tx, user_id)
    return projects.by_ids(tx, ids, (ENABLED,))


def _domain_enabled(tx: Tx, project: Project) -> bool:
    domain = projects.get(tx, project.domain_id) if project.domain_id else project
    return domain is not None and domain.enabled


ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/v3/auth/projects", handler=guarded("identity:get_auth_projects", list_projects),
          policy=ANY_TOKEN),
    Route(method="GET", path="/v3/auth/domains", handler=guarded("identity:get_auth_domains", list_domains),
          policy=ANY_TOKEN),
    Route(method="GET", path="/v3/auth/system", handler=guarded("identity:get_auth_system", list_system),
          policy=ANY_TOKEN),
    Route(method="GET", path="/v3/auth/catalog", handler=guarded("identity:get_auth_catalog", show_catalog),
          policy=ANY_TOKEN),
)
