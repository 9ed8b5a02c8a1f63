"""Claiming: replace what consumers have, all or nothing, never more than there is.

Every provider and consumer concerned is held (locked) before anything is read that decides, so two claims of the last
unit follow each other and the second sees the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from pileus.kernel.db import Tx
from pileus.services.placement.db import allocations, consumers, inventories, providers, resource_classes
from pileus.services.placement.db.allocations import ByProvider, Line
from pileus.services.placement.db.consumers import Consumer
from pileus.services.placement.db.providers import Provider
from pileus.services.placement.errors import (
    ConsumerConflict,
    NoAllocations,
    NoInventory,
    NoRoom,
    UnknownClasses,
    UnknownProviders,
)

ANY_GENERATION = -1
"""The client is too old to know generations of consumers."""

Key = tuple[int, str]


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer shall have from now on; nothing: it shall be gone.

    generation: as the client read it; None when it found no such consumer; `ANY_GENERATION`. project_id, user_id: None
    keeps what is known, or takes the placeholders of an incomplete consumer. consumer_type: None when not said.
    """

    consumer_uuid: str
    allocations: ByProvider
    generation: int | None = ANY_GENERATION
    project_id: str | None = None
    user_id: str | None = None
    consumer_type: str | None = None


def replace(tx: Tx, claims: Sequence[Claim], placeholders: tuple[str, str]) -> None:
    """Make it so, or raise what stands against it. placeholders: project and user of incomplete consumers."""
    uuids = [claim.consumer_uuid for claim in claims]
    known = consumers.locked(tx, uuids)
    for claim in claims:
        _check_generation(claim, known.get(claim.consumer_uuid))
    old = allocations.lines_of(tx, uuids)
    wanted = {uuid for claim in claims for uuid in claim.allocations}
    held = providers.locked(tx, uuids=wanted, ids={line.provider_id for line in old})
    if missing := sorted(wanted - held.keys()):
        raise UnknownProviders(uuids=", ".join(missing))
    names = {name for claim in claims for amounts in claim.allocations.values() for name in amounts}
    if unknown := resource_classes.unknown(tx, names):
        raise UnknownClasses(names=", ".join(unknown))
    new = [
        Line(claim.consumer_uuid, held[uuid].id, name, amount)
        for claim in claims
        for uuid, amounts in claim.allocations.items()
        for name, amount in amounts.items()
    ]
    _check_room(tx, held, old, new)
    allocations.replace(tx, uuids, new)
    kept = [_written(claim, known.get(claim.consumer_uuid), placeholders) for claim in claims if claim.allocations]
    consumers.replace(tx, [claim.consumer_uuid for claim in claims if not claim.allocations], kept)
    providers.raise_generation(tx, [provider.id for provider in held.values()])


def remove(tx: Tx, consumer_uuid: str) -> None:
    """Give back all that a consumer has. `NoAllocations` when it has nothing.

    Nothing that a client decided by reading a provider becomes wrong by this, so its generation stays.
    """
    old = allocations.lines_of(tx, [consumer_uuid])
    if not old:
        raise NoAllocations(uuid=consumer_uuid)
    providers.locked(tx, ids={line.provider_id for line in old})
    allocations.replace(tx, [consumer_uuid], [])
    consumers.replace(tx, [consumer_uuid], [])


def _check_generation(claim: Claim, found: Consumer | None) -> None:
    actual = found.generation if found else None
    if claim.generation not in (ANY_GENERATION, actual):
        raise ConsumerConflict(
            actual="null" if actual is None else actual,
            given="null" if claim.generation is None else claim.generation,
        )


def _written(claim: Claim, found: Consumer | None, placeholders: tuple[str, str]) -> Consumer:
    project = claim.project_id or (found.project_id if found else placeholders[0])
    user = claim.user_id or (found.user_id if found else placeholders[1])
    kind = claim.consumer_type or (found.consumer_type if found else None)
    return Consumer(
        uuid=claim.consumer_uuid, project_id=project, user_id=user, consumer_type=kind,
        generation=found.generation + 1 if found else 1,
    )


def _check_room(tx: Tx, held: Mapping[str, Provider], old: Sequence[Line], new: Sequence[Line]) -> None:
    if not new:
        return
    uuid_of = {provider.id: provider.uuid for provider in held.values()}
    ids = {line.provider_id for line in new}
    stock, used = inventories.of_providers(tx, ids), allocations.usage_of(tx, ids)
    before, after = _sums(old), _sums(new)
    for line in new:
        inventory = stock.get((line.provider_id, line.resource_class))
        where = {"resource_class": line.resource_class, "uuid": uuid_of[line.provider_id]}
        if inventory is None:
            raise NoInventory(**where)
        if not inventory.gives_out(line.used):
            raise NoRoom(
                **where, reason=f"The requested amount {line.used} would violate inventory constraints: at least "
                f"{inventory.min_unit}, at most {inventory.max_unit}, in steps of {inventory.step_size}.",
            )
    for (provider_id, name), amount in after.items():
        key = (provider_id, name)
        total = used.get(key, 0) - before[key] + amount
        # An inventory that shrank under its claims may still be given back from, in parts.
        if total > stock[key].capacity and amount > before[key]:
            raise NoRoom(
                resource_class=name, uuid=uuid_of[provider_id],
                reason=f"The requested amount would exceed the capacity: {amount} asked for, "
                f"{stock[key].capacity - used.get(key, 0) + before[key]} left.",
            )


def _sums(lines: Sequence[Line]) -> Counter[Key]:
    sums: Counter[Key] = Counter()
    for line in lines:
        sums[line.provider_id, line.resource_class] += line.used
    return sums
