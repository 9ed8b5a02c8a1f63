"""How each resource looks: one function per resource."""

from __future__ import annotations

from typing import Any

from pileus.kernel.http import Call
from pileus.services.identity.api.auth.view import expiry_text
from pileus.services.identity.db.endpoints import Endpoint
from pileus.services.identity.db.groups import Group
from pileus.services.identity.db.projects import Project
from pileus.services.identity.db.regions import Region
from pileus.services.identity.db.roles import Role
from pileus.services.identity.db.services import CatalogService
from pileus.services.identity.db.users import User


def _links(call: Call[Any], collection: str, identifier: str) -> dict[str, str]:
    return {"self": f"{call.base_url}/v3/{collection}/{identifier}"}


def project(call: Call[Any], row: Project) -> dict[str, Any]:
    """A project, or a domain shown as one."""
    return {
        **row.extra,
        "id": row.id, "name": row.name, "domain_id": row.domain_id, "description": row.description,
        "enabled": row.enabled, "parent_id": row.parent_id, "is_domain": row.is_domain, "tags": list(row.tags),
        "options": row.options, "links": _links(call, "projects", row.id),
    }


def domain(call: Call[Any], row: Project) -> dict[str, Any]:
    """A domain."""
    return {
        **row.extra,
        "id": row.id, "name": row.name, "description": row.description, "enabled": row.enabled,
        "tags": list(row.tags), "options": row.options, "links": _links(call, "domains", row.id),
    }


def user(call: Call[Any], row: User) -> dict[str, Any]:
    """A user, without anything of the password but its expiry."""
    view: dict[str, Any] = {
        **row.extra,
        "id": row.id, "name": row.name, "domain_id": row.domain_id, "enabled": row.enabled,
        "password_expires_at": expiry_text(row.password_expires_at),
        "options": row.options, "links": _links(call, "users", row.id),
    }
    if row.description is not None:
        view["description"] = row.description
    if row.default_project_id is not None:
        view["default_project_id"] = row.default_project_id
    return view


def group(call: Call[Any], row: Group) -> dict[str, Any]:
    """A group."""
    return {
        **row.extra,
        "id": row.id, "name": row.name, "domain_id": row.domain_id, "description": row.description,
        "links": _links(call, "groups", row.id),
    }


def role(call: Call[Any], row: Role) -> dict[str, Any]:
    """A role."""
    return {
        **row.extra,
        "id": row.id, "name": row.name, "domain_id": row.domain_id, "description": row.description,
        "options": row.options, "links": _links(call, "roles", row.id),
    }


def region(call: Call[Any], row: Region) -> dict[str, Any]:
    """A region."""
    return {
        **row.extra,
        "id": row.id, "description": row.description, "parent_region_id": row.parent_region_id,
        "links": _links(call, "regions", row.id),
    }


def service(call: Call[Any], row: CatalogService) -> dict[str, Any]:
    """A service of the catalogue."""
    return {
        **row.extra,
        "id": row.id, "type": row.type, "name": row.name, "description": row.description, "enabled": row.enabled,
        "links": _links(call, "services", row.id),
    }


def endpoint(call: Call[Any], row: Endpoint) -> dict[str, Any]:
    """An endpoint; `region` is the old name of `region_id`."""
    view: dict[str, Any] = {
        **row.extra,
        "id": row.id, "service_id": row.service_id, "interface": row.interface, "region_id": row.region_id,
        "region": row.region_id, "url": row.url, "enabled": row.enabled,
        "links": _links(call, "endpoints", row.id),
    }
    if row.name is not None:
        view["name"] = row.name
    return view
