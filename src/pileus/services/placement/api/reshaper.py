"""The reshaper: move inventory between providers together with what is given out of it, in one step."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.services.placement.api import inventories as inventories_api
from pileus.services.placement.api.allocations import ManyAllocations, claims_of, placeholders
from pileus.services.placement.api.inventories import AllInventories
from pileus.services.placement.api.names import UuidKey
from pileus.services.placement.db import claims, providers
from pileus.services.placement.db.claims import Claim
from pileus.services.placement.errors import UnknownProviderToReshape
from pileus.services.placement.logic.amounts import Inventory

MAX_BODY_BYTES = 16 * 2**20


class Reshape(msgspec.Struct, forbid_unknown_fields=True):
    """inventories: everything that these providers shall have. allocations: of every consumer that this concerns."""

    inventories: Annotated[dict[UuidKey, AllInventories], msgspec.Meta(min_length=1)]
    allocations: ManyAllocations


Shelves = dict[str, tuple[int, dict[str, Inventory]]]


async def reshape(call: Call[Reshape]) -> None:
    """All of it or nothing."""
    shelves: Shelves = {}
    for uuid, item in call.body.inventories.items():
        shelves[uuid] = (item.resource_provider_generation, item.wanted())
        inventories_api.check_capacity(call, uuid, item.wanted())
    wanted = claims_of(call.body.allocations, call.version)
    await call.rt.db.write(_reshape, shelves, wanted, placeholders(call))


def _reshape(tx: Tx, shelves: Shelves, wanted: list[Claim], owners: tuple[str, str]) -> None:
    held = providers.locked(tx, uuids=shelves)
    if missing := sorted(shelves.keys() - held.keys()):
        raise UnknownProviderToReshape(uuids=", ".join(missing))
    for uuid, (generation, inventory) in shelves.items():
        inventories_api.write_all(tx, uuid, generation, inventory, check_use=False)
    if wanted:
        claims.replace(tx, wanted, owners)
    for uuid, (_, inventory) in shelves.items():
        inventories_api.check_not_in_use(tx, held[uuid].id, uuid, inventory)


ROUTES: tuple[Any, ...] = (
    Route(
        method="POST", path="/reshaper", handler=reshape, policy="placement:reshaper:reshape", body=Reshape,
        success=204, since="1.30", max_body_bytes=MAX_BODY_BYTES,
    ),
)
