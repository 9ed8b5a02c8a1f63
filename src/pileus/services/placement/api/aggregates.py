"""Aggregates that a resource provider is a member of."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.placement.api.freshness import fresh
from pileus.services.placement.api.names import Uuid
from pileus.services.placement.db import aggregates, providers
from pileus.services.placement.errors import InvalidInput
from pileus.services.placement.logic.uuids import canonical

MAX_AGGREGATES = 5_000
Uuids = Annotated[list[Uuid], msgspec.Meta(max_length=MAX_AGGREGATES)]


class ProviderAggregates(msgspec.Struct, forbid_unknown_fields=True):
    """All aggregates of a provider (from 1.19)."""

    aggregates: Uuids
    resource_provider_generation: int


def _view(call: Call[Any], generation: int, found: list[str]) -> dict[str, Any]:
    shown: dict[str, Any] = {"aggregates": found}
    if call.at_least("1.19"):
        shown["resource_provider_generation"] = generation
    return shown


def _read(tx: Tx, uuid: str) -> tuple[int, list[str]]:
    provider = providers.need(tx, uuid)
    return provider.generation, aggregates.of_provider(tx, provider.id)


async def list_aggregates(call: Call[Any]) -> Reply:
    """A provider's aggregates."""
    return fresh(call, _view(call, *await call.rt.db.read(_read, call.path["uuid"])))


def _replace(tx: Tx, uuid: str, generation: int | None, wanted: list[str]) -> int:
    provider = providers.expect(tx, uuid, generation)
    aggregates.replace(tx, provider.id, wanted)
    if generation is None:  # clients before 1.19 know no generation here, and do not expect theirs to grow stale
        return provider.generation
    providers.raise_generation(tx, [provider.id])
    return provider.generation + 1


async def _answer(call: Call[Any], given: list[str], generation: int | None) -> Reply:
    wanted = [canonical(uuid) or uuid for uuid in given]
    if len(set(wanted)) != len(wanted):
        raise InvalidInput("JSON does not validate: the aggregates are not unique.")
    new = await call.rt.db.write(_replace, call.path["uuid"], generation, wanted)
    return fresh(call, _view(call, new, wanted))


async def replace_aggregates(call: Call[ProviderAggregates]) -> Reply:
    """Exactly these aggregates."""
    return await _answer(call, call.body.aggregates, call.body.resource_provider_generation)


async def replace_aggregates_unguarded(call: Call[list[str]]) -> Reply:
    """Exactly these aggregates, whatever the provider's generation (before 1.19)."""
    return await _answer(call, call.body, None)


_PATH, _RULE = "/resource_providers/{uuid}/aggregates", "placement:resource_providers:aggregates:"
ROUTES = (
    Route(method="GET", path=_PATH, handler=list_aggregates, policy=_RULE + "list", since="1.1"),
    Route(
        method="PUT", path=_PATH, handler=replace_aggregates_unguarded, policy=_RULE + "update", body=Uuids,
        since="1.1", until="1.18",
    ),
    Route(
        method="PUT", path=_PATH, handler=replace_aggregates, policy=_RULE + "update", body=ProviderAggregates,
        since="1.19",
    ),
)
