"""How a token and a catalogue look."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pileus.services.identity.db.endpoints import CatalogEntry
from pileus.services.identity.db.tokens import TokenDetails
from pileus.services.identity.logic.catalog import fill_in
from pileus.services.identity.logic.token_payload import DOMAIN, SYSTEM, UNSCOPED


def time_text(time: datetime) -> str:
    """A time as identity writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def expiry_text(time: datetime | None) -> str | None:
    """When a password expires, as identity writes it: without a zone."""
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%S.%f")


def token_body(found: TokenDetails, entries: list[CatalogEntry] | None = None) -> dict[str, Any]:
    """The `token` object. entries: the catalogue, when it is to be shown."""
    payload, user, scope = found.payload, found.user, found.scope
    body: dict[str, Any] = {
        "methods": list(payload.methods),
        "user": {
            "domain": {"id": user.domain_id, "name": user.domain_name},
            "id": user.id,
            "name": user.name,
            "password_expires_at": expiry_text(user.password_expires_at),
        },
        "audit_ids": list(payload.audit_ids),
        "expires_at": time_text(payload.expires_at),
        "issued_at": time_text(payload.issued_at),
    }
    if payload.scope_kind == UNSCOPED:
        return body
    if payload.scope_kind == SYSTEM:
        body["system"] = {"all": True}
    elif scope is not None and payload.scope_kind == DOMAIN:
        body["domain"] = {"id": scope.id, "name": scope.name}
    elif scope is not None:
        domain = {"id": scope.domain_id or scope.id, "name": scope.domain_name or scope.name}
        body["project"] = {"domain": domain, "id": scope.id, "name": scope.name}
        body["is_domain"] = scope.is_domain
    body["roles"] = [{"id": role.id, "name": role.name} for role in found.roles]
    if entries is not None:
        project_id = scope.id if scope is not None and "project" in body else None
        body["catalog"] = catalog(entries, user.id, project_id)
    return body


def catalog(entries: list[CatalogEntry], user_id: str, project_id: str | None) -> list[dict[str, Any]]:
    """Services with their endpoints, addresses filled in; those that cannot be are left out."""
    values = {"project_id": project_id, "tenant_id": project_id, "user_id": user_id}
    services: dict[str, dict[str, Any]] = {}
    for entry in entries:
        service = services.setdefault(
            entry.service_id,
            {"endpoints": [], "id": entry.service_id, "type": entry.service_type, "name": entry.service_name},
        )
        if (url := fill_in(entry.url, values)) is not None:
            service["endpoints"].append({
                "id": entry.endpoint_id, "interface": entry.interface, "region_id": entry.region_id, "url": url,
                "region": entry.region_id,
            })
    return list(services.values())
