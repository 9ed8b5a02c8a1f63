"""Traits, and the traits of a resource provider."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.placement.api import links, queries
from pileus.services.placement.api.freshness import fresh
from pileus.services.placement.db import providers, traits
from pileus.services.placement.errors import BadQueryValue, InvalidInput, TraitInUse, TraitNotFound, UnknownTraits
from pileus.services.placement.logic.standard_names import is_custom, standard_traits

MAX_TRAITS = 5_000
TraitName = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9_]+\Z", max_length=255)]


class ProviderTraits(msgspec.Struct, forbid_unknown_fields=True):
    """All traits of a provider."""

    resource_provider_generation: int
    traits: Annotated[list[TraitName], msgspec.Meta(max_length=MAX_TRAITS)]


# -- traits ------------------------------------------------------------------------------------------------------------


async def list_traits(call: Call[Any]) -> Reply:
    """All traits, or those with some names, or those that some provider has."""
    given = queries.known(call, {"name": "1.6", "associated": "1.6"})
    found = await call.rt.db.read(_list, queries.single(given, "name"), queries.single(given, "associated"))
    return fresh(call, {"traits": found})


def _list(tx: Tx, name: str | None, associated: str | None) -> list[str]:
    found = traits.names(tx)
    if name is not None:
        if name.startswith("in:"):
            wanted = set(name.removeprefix("in:").split(","))
            found = [trait for trait in found if trait in wanted]
        elif name.startswith("startswith:"):
            found = [trait for trait in found if trait.startswith(name.removeprefix("startswith:"))]
        else:
            raise BadQueryValue("Badly formatted name parameter. Expected name query string parameter in form: "
                                f"?name=[in|startswith]:[name1,name2|prefix]. Got: '{name[:255]}'")
    if associated is not None:
        if associated.lower() not in ("true", "false"):
            raise BadQueryValue("The query parameter 'associated' only accepts 'true' or 'false'. "
                                f"Got: {associated[:255]}")
        used = traits.associated(tx)
        found = [trait for trait in found if (trait in used) == (associated.lower() == "true")]
    return found


async def show_trait(call: Call[Any]) -> Reply:
    """Whether there is a trait of that name."""
    name = call.path["name"]
    if await call.rt.db.read(traits.unknown, [name]):
        raise TraitNotFound(name=name)
    return fresh(call)


async def ensure_trait(call: Call[Any]) -> Reply:
    """A custom trait of that name, made if it is not there."""
    name = call.path["name"]
    if not is_custom(name):
        raise InvalidInput(f"The trait '{name[:255]}' is invalid. A valid trait must be no longer than 255 characters, "
                           "start with the prefix \"CUSTOM_\" and use following characters: \"A\"-\"Z\", \"0\"-\"9\" "
                           "and \"_\"")
    made = await call.rt.db.write(_ensure, name)
    return fresh(call, status=201 if made else 204, headers=links.location(call, f"/traits/{name}"))


def _ensure(tx: Tx, name: str) -> bool:
    """Whether it was made."""
    if not traits.unknown(tx, [name]):
        return False
    traits.insert(tx, name)
    return True


def _delete(tx: Tx, name: str) -> None:
    if name in standard_traits():
        raise InvalidInput(f"Cannot delete standard trait {name}.")
    if traits.unknown(tx, [name]):
        raise TraitNotFound(name=name)
    if traits.is_associated(tx, name):
        raise TraitInUse(name=name)
    traits.remove(tx, name)


async def delete_trait(call: Call[Any]) -> None:
    """A custom trait that no provider has."""
    await call.rt.db.write(_delete, call.path["name"])


# -- of a provider -----------------------------------------------------------------------------------------------------


def _view(generation: int, found: list[str]) -> dict[str, Any]:
    return {"traits": found, "resource_provider_generation": generation}


def _read(tx: Tx, uuid: str) -> tuple[int, list[str]]:
    provider = providers.need(tx, uuid)
    return provider.generation, traits.of_provider(tx, provider.id)


async def list_provider_traits(call: Call[Any]) -> Reply:
    """A provider's traits."""
    return fresh(call, _view(*await call.rt.db.read(_read, call.path["uuid"])))


def _replace(tx: Tx, uuid: str, generation: int | None, wanted: list[str]) -> int:
    provider = providers.expect(tx, uuid, generation)
    if unknown := traits.unknown(tx, wanted):
        raise UnknownTraits(names=", ".join(unknown))
    traits.replace(tx, provider.id, wanted)
    providers.raise_generation(tx, [provider.id])
    return provider.generation + 1


async def replace_provider_traits(call: Call[ProviderTraits]) -> Reply:
    """Exactly these traits."""
    wanted = call.body.traits
    if len(set(wanted)) != len(wanted):
        raise InvalidInput("JSON does not validate: the traits are not unique.")
    given = call.body.resource_provider_generation
    generation = await call.rt.db.write(_replace, call.path["uuid"], given, wanted)
    return fresh(call, _view(generation, sorted(wanted)))


async def delete_provider_traits(call: Call[Any]) -> None:
    """No trait at all."""
    await call.rt.db.write(_replace, call.path["uuid"], None, [])


_ONE, _PROVIDER = "/traits/{name}", "/resource_providers/{uuid}/traits"
_RULE, _PROVIDER_RULE = "placement:traits:", "placement:resource_providers:traits:"
ROUTES = (
    Route(method="GET", path="/traits", handler=list_traits, policy=_RULE + "list", since="1.6"),
    Route(method="GET", path=_ONE, handler=show_trait, policy=_RULE + "show", success=204, since="1.6"),
    Route(method="PUT", path=_ONE, handler=ensure_trait, policy=_RULE + "update", success=204, since="1.6"),
    Route(method="DELETE", path=_ONE, handler=delete_trait, policy=_RULE + "delete", success=204, since="1.6"),
    Route(method="GET", path=_PROVIDER, handler=list_provider_traits, policy=_PROVIDER_RULE + "list", since="1.6"),
    Route(
        method="PUT", path=_PROVIDER, handler=replace_provider_traits, policy=_PROVIDER_RULE + "update",
        body=ProviderTraits, since="1.6",
    ),
    Route(
        method="DELETE", path=_PROVIDER, handler=delete_provider_traits, policy=_PROVIDER_RULE + "delete", success=204,
        since="1.6",
    ),
)
