"""Resource providers."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route, versioned
from pileus.services.placement.api import links, queries
from pileus.services.placement.api.freshness import fresh
from pileus.services.placement.api.names import Uuid
from pileus.services.placement.db import aggregates, allocations, inventories, provider_lists, providers, traits
from pileus.services.placement.db import resource_classes as classes
from pileus.services.placement.db.provider_lists import ProviderFilter
from pileus.services.placement.db.providers import Provider
from pileus.services.placement.errors import (
    DuplicateId,
    DuplicateName,
    InvalidInput,
    ProviderHasChildren,
    ProviderInUse,
    UnknownClasses,
    UnknownTraits,
)
from pileus.services.placement.logic import query_language
from pileus.services.placement.logic.query_language import Features
from pileus.services.placement.logic.uuids import canonical

ProviderName = Annotated[str, msgspec.Meta(max_length=200)]
Parent = versioned(Uuid | None | UnsetType, since="1.14")


class NewProvider(msgspec.Struct, forbid_unknown_fields=True):
    """uuid: chosen by the service when the client does not."""

    name: ProviderName
    uuid: Uuid | UnsetType = UNSET
    parent_provider_uuid: Parent = UNSET  # pyright: ignore[reportInvalidTypeForm]


class ProviderChange(msgspec.Struct, forbid_unknown_fields=True):
    """What may change of a provider."""

    name: ProviderName
    parent_provider_uuid: Parent = UNSET  # pyright: ignore[reportInvalidTypeForm]


PARAMETERS = {
    "name": "1.0", "uuid": "1.0", "member_of": "1.3", "resources": "1.4", "in_tree": "1.14", "required": "1.18",
}
REPEATABLE = {"member_of": "1.24", "required": "1.39"}
LINKS = (
    ("inventories", "1.0"), ("usages", "1.0"), ("aggregates", "1.1"), ("traits", "1.6"), ("allocations", "1.11"),
)


def view(call: Call[Any], provider: Provider) -> dict[str, Any]:
    """A provider as clients see it."""
    own = links.href(call, f"/resource_providers/{provider.uuid}")
    shown: dict[str, Any] = {
        "uuid": provider.uuid,
        "name": provider.name,
        "generation": provider.generation,
        "links": [
            {"rel": "self", "href": own},
            *({"rel": rel, "href": f"{own}/{rel}"} for rel, since in LINKS if call.at_least(since)),
        ],
    }
    if call.at_least("1.14"):
        shown["parent_provider_uuid"] = provider.parent_uuid
        shown["root_provider_uuid"] = provider.root_uuid
    return shown


def features(call: Call[Any]) -> Features:
    """The query language of the request's version."""
    return Features(
        forbidden_traits=call.at_least("1.22"), any_traits=call.at_least("1.39"),
        forbidden_aggregates=call.at_least("1.32"),
    )


# -- list and show -----------------------------------------------------------------------------------------------------


async def list_providers(call: Call[Any]) -> Reply:
    """Providers that match every filter."""
    given = queries.known(call, PARAMETERS, REPEATABLE)
    language = features(call)
    wanted = ProviderFilter(
        name=queries.single(given, "name"),
        uuid=query_language.uuid(given["uuid"][0], "uuid") if "uuid" in given else None,
        in_tree=query_language.uuid(given["in_tree"][0], "in_tree") if "in_tree" in given else None,
        member_of=query_language.aggregates(given.get("member_of", []), "member_of", language),
        required=query_language.traits(given.get("required", []), "required", language),
        resources=query_language.resources(given["resources"][0]) if "resources" in given else {},
    )
    found = await call.rt.db.read(_find, wanted)
    newest = max((provider.updated_at for provider in found), default=None)
    return fresh(call, {"resource_providers": [view(call, provider) for provider in found]}, modified=newest)


def _find(tx: Tx, wanted: ProviderFilter) -> list[Provider]:
    if unknown := classes.unknown(tx, wanted.resources):
        raise UnknownClasses(f"Invalid resource class in resources parameter: No such resource class {unknown[0]}.")
    if unknown := traits.unknown(tx, wanted.required.names):
        raise UnknownTraits(names=", ".join(unknown))
    return provider_lists.find(tx, wanted)


async def show_provider(call: Call[Any]) -> Reply:
    """One provider."""
    provider = await call.rt.db.read(providers.need, call.path["uuid"])
    return fresh(call, view(call, provider), modified=provider.updated_at)


# -- create ------------------------------------------------------------------------------------------------------------


async def create_provider(call: Call[NewProvider]) -> Reply:
    """A new provider, a root or somebody's child."""
    provider = await call.rt.db.write(_create, call.body)
    where = links.location(call, f"/resource_providers/{provider.uuid}")
    if not call.at_least("1.20"):
        return Reply(status=201, headers=where)
    return fresh(call, view(call, provider), modified=provider.updated_at, headers=where)


def _create(tx: Tx, body: NewProvider) -> Provider:
    uuid = canonical(body.uuid) if isinstance(body.uuid, str) else None
    uuid = uuid or tx.clock.new_id()
    if providers.by_name(tx, body.name) is not None:
        raise DuplicateName(field="name", value=body.name)
    if providers.get(tx, uuid) is not None:
        raise DuplicateId(field="uuid", value=uuid)
    parent = None
    if isinstance(body.parent_provider_uuid, str):
        parent = _parent(tx, uuid, body.parent_provider_uuid)
    return providers.insert(tx, uuid, body.name, parent)


def _parent(tx: Tx, uuid: str, parent_uuid: str) -> Provider:
    if parent_uuid == uuid:
        raise InvalidInput(f"Resource provider {uuid}: parent provider UUID cannot be same as UUID; creating loop in "
                           "the provider tree is not allowed.")
    parent = providers.get(tx, canonical(parent_uuid) or parent_uuid)
    if parent is None:
        raise InvalidInput(f"parent provider UUID does not exist: {parent_uuid}")
    return parent


# -- change ------------------------------------------------------------------------------------------------------------


async def update_provider(call: Call[ProviderChange]) -> Reply:
    """Another name, another parent."""
    provider = await call.rt.db.write(_update, call.path["uuid"], call.body, call.at_least("1.37"))
    return fresh(call, view(call, provider), modified=provider.updated_at)


def _update(tx: Tx, uuid: str, body: ProviderChange, may_move: bool) -> Provider:
    provider = providers.expect(tx, uuid, None)
    holder = providers.by_name(tx, body.name)
    if holder is not None and holder.uuid != uuid:
        raise DuplicateName(field="name", value=body.name)
    providers.change(tx, provider.id, name=body.name)
    if not isinstance(body.parent_provider_uuid, UnsetType) and body.parent_provider_uuid != provider.parent_uuid:
        _move(tx, provider, body.parent_provider_uuid, may_move)
    return providers.need(tx, uuid)


def _move(tx: Tx, provider: Provider, parent_uuid: str | None, may_move: bool) -> None:
    parent = None if parent_uuid is None else _parent(tx, provider.uuid, parent_uuid)
    if provider.parent_uuid is not None and not may_move:
        what = "un-parenting" if parent is None else "re-parenting"
        raise InvalidInput(f"Unable to save resource provider {provider.uuid}: {what} a provider is not currently "
                           "allowed.")
    subtree = _subtree(providers.tree_of(tx, provider.root_uuid), provider.uuid)
    if parent is not None and parent.uuid in subtree:
        raise InvalidInput(f"Unable to save resource provider {provider.uuid}: creating loop in the provider tree is "
                           "not allowed.")
    providers.change(tx, provider.id, parent_uuid=parent_uuid)
    providers.set_root(tx, subtree, parent.root_uuid if parent else provider.uuid)


def _subtree(tree: list[Provider], top: str) -> set[str]:
    children: dict[str | None, list[str]] = {}
    for provider in tree:
        children.setdefault(provider.parent_uuid, []).append(provider.uuid)
    found, waiting = {top}, [top]
    while waiting:
        below = children.get(waiting.pop(), [])
        found.update(below)
        waiting.extend(below)
    return found


# -- delete ------------------------------------------------------------------------------------------------------------


async def delete_provider(call: Call[Any]) -> None:
    """Delete a provider that has neither children nor anything given out."""
    await call.rt.db.write(_delete, call.path["uuid"])


def _delete(tx: Tx, uuid: str) -> None:
    provider = providers.expect(tx, uuid, None)
    if providers.has_children(tx, uuid):
        raise ProviderHasChildren(uuid=uuid)
    if allocations.has_any(tx, provider.id):
        raise ProviderInUse(uuid=uuid)
    inventories.replace(tx, provider.id, {})
    traits.replace(tx, provider.id, ())
    aggregates.replace(tx, provider.id, ())
    providers.remove(tx, provider.id)


_ALL, _ONE = "/resource_providers", "/resource_providers/{uuid}"
_RULE = "placement:resource_providers:"
ROUTES = (
    Route(method="GET", path=_ALL, handler=list_providers, policy=_RULE + "list"),
    Route(method="POST", path=_ALL, handler=create_provider, policy=_RULE + "create", body=NewProvider),
    Route(method="GET", path=_ONE, handler=show_provider, policy=_RULE + "show"),
    Route(method="PUT", path=_ONE, handler=update_provider, policy=_RULE + "update", body=ProviderChange),
    Route(method="DELETE", path=_ONE, handler=delete_provider, policy=_RULE + "delete", success=204),
)
