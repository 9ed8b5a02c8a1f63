"""/v3/domains: list, create, show, update, delete."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, Call, Reply, Route
from pileus.services.identity.api import views
from pileus.services.identity.api.auth.session import revocation_kept_s, write_and_revoke
from pileus.services.identity.api.bodies import (
    IMMUTABLE,
    Description,
    Fields,
    Tags,
    Unset,
    check_options,
    given,
    merged,
    merged_options,
    split,
)
from pileus.services.identity.api.guard import guarded, own_domain, path_resources
from pileus.services.identity.api.listing import collection, filters, window
from pileus.services.identity.db import projects, removal, revocations
from pileus.services.identity.db.filters import Filter
from pileus.services.identity.db.projects import Project, TagFilter
from pileus.services.identity.errors import (
    AlreadyThere,
    DomainMustBeDisabled,
    InvalidInput,
    NameTaken,
    NotAllowed,
    ResourceImmutable,
    ResourceNotFound,
)

OPTIONS = {IMMUTABLE: bool}
FILTERS = {"name": str, "enabled": bool}
DEFAULT_DOMAIN = "default"
_HEX_ID = re.compile(r"^[0-9a-f]{32}$")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class CreateDomain(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    explicit_domain_id: str | None = None
    description: Description | None = None
    enabled: bool = True
    tags: Tags = []
    options: dict[str, Any] = {}


class UpdateDomain(msgspec.Struct, forbid_unknown_fields=True):
    name: Name | Unset = msgspec.UNSET
    description: Description | Unset | None = msgspec.UNSET
    enabled: bool | Unset = msgspec.UNSET
    options: dict[str, Any] | Unset = msgspec.UNSET


async def list_domains(call: Call[None]) -> dict[str, Any]:
    """All domains; a domain-scoped caller sees their own."""
    wanted, asked = (*filters(call, FILTERS), Filter("is_domain", True)), window(call)
    if call.context.domain_id is not None:
        wanted = (*wanted, Filter("id", call.context.domain_id))
    found = await call.rt.db.read(projects.listing, wanted, TagFilter(), asked)
    return collection(call, "domains", [views.domain(call, row) for row in found], asked)


async def create_domain(call: Call[Fields]) -> Reply:
    """A new domain; clouds that mirror each other may choose its id."""
    wanted, extra = split(call.body, CreateDomain)
    check_options(wanted.options, OPTIONS)
    if wanted.explicit_domain_id is not None and not _HEX_ID.match(wanted.explicit_domain_id):
        raise InvalidInput(reason="Invalid input: explicit_domain_id must be a uuid in hex - at `$.explicit_domain_id`")
    row = await make_domain(call, wanted.name, wanted.description or "", wanted.enabled, wanted.tags, wanted.options,
                            extra, wanted.explicit_domain_id or call.rt.clock.new_hex_id())
    return Reply({"domain": views.domain(call, row)})


async def make_domain(
    call: Call[Any], name: str, description: str, enabled: bool, tags: list[str], options: Fields, extra: Fields,
    domain_id: str,
) -> Project:
    """Store a new domain. 409 when the name or id is taken."""
    row = Project(
        id=domain_id, domain_id=None, parent_id=None, name=name, is_domain=True, enabled=enabled,
        description=description, options=merged_options({}, options), extra=extra, tags=tuple(sorted(set(tags))),
    )
    await call.rt.db.write(_insert, row)
    return row


def _insert(tx: Tx, row: Project) -> None:
    _check_name_free(tx, row.name)
    if projects.get(tx, row.id) is not None:
        raise AlreadyThere(kind="domain", id=row.id)
    projects.insert(tx, row)


async def show_domain(call: Call[None]) -> dict[str, Any]:
    """One domain."""
    return {"domain": views.domain(call, await call.rt.db.read(find_domain, call.path["domain_id"]))}


async def update_domain(call: Call[Fields]) -> dict[str, Any]:
    """Change a domain; disabling it ends every token of its users and for its projects."""
    wanted, extra = split(call.body, UpdateDomain)
    check_options(wanted.options, OPTIONS)
    row = await write_and_revoke(call.rt, _update, call.path["domain_id"], wanted, extra,
                                 revocation_kept_s(call.rt.config))
    return {"domain": views.domain(call, row)}


def _update(tx: Tx, domain_id: str, wanted: UpdateDomain, extra: Fields, kept_s: float) -> Project:
    row = find_domain(tx, domain_id)
    _check_mutable(row, wanted.options)
    if isinstance(wanted.name, str) and wanted.name != row.name:
        _check_name_free(tx, wanted.name)
    changes = given(wanted, "name", "enabled")
    if wanted.description is not msgspec.UNSET:
        changes["description"] = wanted.description or ""
    if wanted.enabled is False and row.enabled:
        if domain_id == DEFAULT_DOMAIN:
            raise NotAllowed(reason="the default domain cannot be disabled.")
        revocations.revoke(tx, "domain", domain_id, keep_for_s=kept_s)
    changes |= {"extra": merged(row.extra, extra), "options": merged_options(row.options, wanted.options)}
    projects.update(tx, domain_id, changes)
    return find_domain(tx, domain_id)


async def delete_domain(call: Call[None]) -> None:
    """Delete a disabled domain with everything in it."""
    await write_and_revoke(call.rt, _delete, call.path["domain_id"], revocation_kept_s(call.rt.config))


def _delete(tx: Tx, domain_id: str, kept_s: float) -> None:
    row = find_domain(tx, domain_id)
    _check_mutable(row, msgspec.UNSET)
    if domain_id == DEFAULT_DOMAIN:
        raise NotAllowed(reason="the default domain cannot be deleted.")
    if row.enabled:
        raise DomainMustBeDisabled()
    removal.remove_domain(tx, domain_id, kept_s)


def find_domain(tx: Tx, domain_id: str) -> Project:
    """A domain, or 404."""
    row = projects.get_domain(tx, domain_id)
    if row is None:
        raise ResourceNotFound(kind="domain", id=domain_id)
    return row


def _check_mutable(row: Project, new_options: dict[str, Any] | Unset) -> None:
    unmarking = isinstance(new_options, dict) and IMMUTABLE in new_options and not new_options[IMMUTABLE]
    if row.options.get(IMMUTABLE) and not unmarking:
        raise ResourceImmutable(kind="domain", id=row.id)


def _check_name_free(tx: Tx, name: str) -> None:
    if projects.get_by_name(tx, name, None) is not None:
        raise NameTaken(kind="domain", name=name, where="")


ROUTES = (
    Route(method="GET", path="/v3/domains", handler=guarded("identity:list_domains", list_domains, own_domain),
          policy=ANY_TOKEN),
    Route(method="POST", path="/v3/domains", handler=create_domain, policy="identity:create_domain", success=201,
          body=dict[str, Any], envelope="domain"),
    Route(method="GET", path="/v3/domains/{domain_id}", policy=ANY_TOKEN,
          handler=guarded("identity:get_domain", show_domain, path_resources)),
    Route(method="PATCH", path="/v3/domains/{domain_id}", handler=update_domain, policy="identity:update_domain",
          body=dict[str, Any], envelope="domain"),
    Route(method="DELETE", path="/v3/domains/{domain_id}", handler=delete_domain, policy="identity:delete_domain",
          success=204),
)
