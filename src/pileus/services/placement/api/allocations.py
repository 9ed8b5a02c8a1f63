"""Allocations: what a consumer has, and what a provider has given out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route, Version, versioned
from pileus.kernel.http.body import check_versions
from pileus.services.placement.api.freshness import fresh
from pileus.services.placement.api.names import Amount, Name, OwnerId, Uuid, UuidKey
from pileus.services.placement.db import allocations, claims, consumers, providers
from pileus.services.placement.db.allocations import Amounts, ProviderShare
from pileus.services.placement.db.claims import ANY_GENERATION, Claim
from pileus.services.placement.db.consumers import UNKNOWN_TYPE, Consumer
from pileus.services.placement.errors import InvalidInput
from pileus.services.placement.logic.uuids import canonical

MAX_CONSUMERS = 1_000
Resources = Annotated[dict[Name, Amount], msgspec.Meta(min_length=1)]
Suffix = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_-]{0,64}\Z")]
Mappings = Annotated[dict[Suffix, Annotated[list[Uuid], msgspec.Meta(min_length=1)]], msgspec.Meta(min_length=1)]


class ProviderId(msgspec.Struct, forbid_unknown_fields=True):
    """A provider, in the old form."""

    uuid: Uuid


class OldShare(msgspec.Struct, forbid_unknown_fields=True):
    """What comes from one provider, in the old form."""

    resource_provider: ProviderId
    resources: Resources


class OldAllocations(msgspec.Struct, forbid_unknown_fields=True):
    """What a consumer shall have, until 1.11."""

    allocations: Annotated[list[OldShare], msgspec.Meta(min_length=1)]
    project_id: versioned(OwnerId | UnsetType, since="1.8") = UNSET  # pyright: ignore[reportInvalidTypeForm]
    user_id: versioned(OwnerId | UnsetType, since="1.8") = UNSET  # pyright: ignore[reportInvalidTypeForm]


class Share(msgspec.Struct, forbid_unknown_fields=True):
    """What comes from one provider. generation: taken, so that what was read can be sent, and not looked at."""

    resources: Resources
    generation: int | UnsetType = UNSET


class ConsumerAllocations(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a consumer shall have. mappings: taken for the client's convenience, and not looked at."""

    allocations: dict[UuidKey, Share]
    project_id: OwnerId
    user_id: OwnerId
    consumer_generation: versioned(int | None | UnsetType, since="1.28") = UNSET  # pyright: ignore[reportInvalidTypeForm]
    mappings: versioned(Mappings | UnsetType, since="1.34") = UNSET  # pyright: ignore[reportInvalidTypeForm]
    consumer_type: versioned(Name | UnsetType, since="1.38") = UNSET  # pyright: ignore[reportInvalidTypeForm]


ManyAllocations = Annotated[dict[UuidKey, ConsumerAllocations], msgspec.Meta(max_length=MAX_CONSUMERS)]


def claim_of(consumer_uuid: str, body: ConsumerAllocations, version: Version) -> Claim:
    """The claim that a body asks for. `BadRequest` when it does not fit the version."""
    check_versions(body, version)
    generation = body.consumer_generation
    if version >= Version(1, 28) and isinstance(generation, UnsetType):
        raise InvalidInput("JSON does not validate: 'consumer_generation' is a required property")
    if version >= Version(1, 38) and isinstance(body.consumer_type, UnsetType):
        raise InvalidInput("JSON does not validate: 'consumer_type' is a required property")
    return Claim(
        consumer_uuid=consumer_uuid,
        allocations={uuid: share.resources for uuid, share in body.allocations.items()},
        generation=ANY_GENERATION if isinstance(generation, UnsetType) else generation,
        project_id=body.project_id,
        user_id=body.user_id,
        consumer_type=None if isinstance(body.consumer_type, UnsetType) else body.consumer_type,
    )


def claims_of(bodies: Mapping[str, ConsumerAllocations], version: Version) -> list[Claim]:
    """The claims that a body for several consumers asks for."""
    wanted: dict[str, Claim] = {}
    for given, body in bodies.items():
        uuid = _checked(given)
        if uuid in wanted:
            raise InvalidInput(f"JSON does not validate: consumer {uuid} stands there twice")
        wanted[uuid] = claim_of(uuid, body, version)
    return list(wanted.values())


def placeholders(call: Call[Any]) -> tuple[str, str]:
    """Project and user of consumers whose client named none."""
    config = call.rt.config
    return config.incomplete_consumer_project_id, config.incomplete_consumer_user_id


def _checked(given: str) -> str:
    uuid = canonical(given)
    if uuid is None:
        raise InvalidInput(f"Malformed consumer_uuid: {given[:255]}")
    return uuid


# -- read --------------------------------------------------------------------------------------------------------------


def _of_consumer(tx: Tx, uuid: str) -> tuple[Consumer | None, list[ProviderShare]]:
    return consumers.get(tx, uuid), allocations.of_consumer(tx, uuid)


async def show_allocations(call: Call[Any]) -> Reply:
    """What a consumer has. One that nobody knows has nothing."""
    given = call.path["consumer_uuid"]
    consumer, shares = await call.rt.db.read(_of_consumer, canonical(given) or given)
    shown: dict[str, Any] = {
        "allocations": {
            share.provider_uuid: {"generation": share.generation, "resources": share.resources} for share in shares
        }
    }
    if consumer is not None and shares:
        if call.at_least("1.12"):
            shown |= {"project_id": consumer.project_id, "user_id": consumer.user_id}
        if call.at_least("1.28"):
            shown["consumer_generation"] = consumer.generation
        if call.at_least("1.38"):
            shown["consumer_type"] = consumer.consumer_type or UNKNOWN_TYPE
    return fresh(call, shown)


def _on_provider(tx: Tx, uuid: str) -> tuple[int, list[tuple[str, int, Amounts]]]:
    provider = providers.need(tx, uuid)
    return provider.generation, allocations.on_provider(tx, provider.id)


async def list_provider_allocations(call: Call[Any]) -> Reply:
    """What each consumer has from a provider."""
    generation, found = await call.rt.db.read(_on_provider, call.path["uuid"])
    shown: dict[str, Any] = {}
    for consumer_uuid, consumer_generation, resources in found:
        shown[consumer_uuid] = {"resources": resources}
        if call.at_least("1.28"):
            shown[consumer_uuid]["consumer_generation"] = consumer_generation
    return fresh(call, {"resource_provider_generation": generation, "allocations": shown})


# -- write -------------------------------------------------------------------------------------------------------------


async def replace_allocations_old(call: Call[OldAllocations]) -> None:
    """What a consumer shall have, in the form until 1.11."""
    uuid, body = _checked(call.path["consumer_uuid"]), call.body
    owners = [None if isinstance(value, UnsetType) else value for value in (body.project_id, body.user_id)]
    if call.at_least("1.8") and None in owners:
        raise InvalidInput("JSON does not validate: 'project_id' and 'user_id' are required properties")
    amounts: dict[str, Amounts] = {}
    for share in body.allocations:
        amounts.setdefault(share.resource_provider.uuid, {}).update(share.resources)
    claim = Claim(consumer_uuid=uuid, allocations=amounts, project_id=owners[0], user_id=owners[1])
    await call.rt.db.write(claims.replace, [claim], placeholders(call))


async def replace_allocations(call: Call[ConsumerAllocations]) -> None:
    """What a consumer shall have."""
    claim = claim_of(_checked(call.path["consumer_uuid"]), call.body, call.version)
    if not claim.allocations and not call.at_least("1.28"):
        raise InvalidInput("JSON does not validate: 'allocations' does not have enough properties")
    await call.rt.db.write(claims.replace, [claim], placeholders(call))


async def replace_many(call: Call[Mapping[str, ConsumerAllocations]]) -> None:
    """What several consumers shall have, all or nothing."""
    if not call.body:
        raise InvalidInput("JSON does not validate: the body does not have enough properties")
    await call.rt.db.write(claims.replace, claims_of(call.body, call.version), placeholders(call))


async def delete_allocations(call: Call[Any]) -> None:
    """Give back all that a consumer has."""
    given = call.path["consumer_uuid"]
    await call.rt.db.write(claims.remove, canonical(given) or given)


_ONE, _RULE = "/allocations/{consumer_uuid}", "placement:allocations:"
ROUTES = (
    Route(method="GET", path=_ONE, handler=show_allocations, policy=_RULE + "list"),
    Route(
        method="PUT", path=_ONE, handler=replace_allocations_old, policy=_RULE + "update", body=OldAllocations,
        success=204, until="1.11",
    ),
    Route(
        method="PUT", path=_ONE, handler=replace_allocations, policy=_RULE + "update", body=ConsumerAllocations,
        success=204, since="1.12",
    ),
    Route(method="DELETE", path=_ONE, handler=delete_allocations, policy=_RULE + "delete", success=204),
    Route(
        method="POST", path="/allocations", handler=replace_many, policy=_RULE + "manage", body=ManyAllocations,
        success=204, since="1.13",
    ),
    Route(
        method="GET", path="/resource_providers/{uuid}/allocations", handler=list_provider_allocations,
        policy="placement:resource_providers:allocations:list",
    ),
)
