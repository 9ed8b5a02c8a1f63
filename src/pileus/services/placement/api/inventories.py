"""Inventories of a resource provider, all of them and one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.placement.api import links
from pileus.services.placement.api.freshness import fresh
from pileus.services.placement.api.names import Amount, Name
from pileus.services.placement.db import allocations, inventories, providers
from pileus.services.placement.db import resource_classes as classes
from pileus.services.placement.errors import (
    GenerationConflict,
    InvalidCapacity,
    InvalidInput,
    InventoryInUse,
    InventoryNotFound,
    UnknownClasses,
)
from pileus.services.placement.logic.amounts import MAX_INT, MAX_RATIO, Inventory

Reserved = Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)]
Ratio = Annotated[float, msgspec.Meta(le=MAX_RATIO)]


class _Fields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    total: Amount
    reserved: Reserved = 0
    min_unit: Amount = 1
    max_unit: Amount = MAX_INT
    step_size: Amount = 1
    allocation_ratio: Ratio = 1.0

    def inventory(self) -> Inventory:
        """What is kept."""
        return Inventory(
            total=self.total, reserved=self.reserved, min_unit=self.min_unit, max_unit=self.max_unit,
            step_size=self.step_size, allocation_ratio=self.allocation_ratio,
        )


class InventoryRecord(_Fields, forbid_unknown_fields=True, kw_only=True):
    """One of all inventories; a generation in it is not looked at."""

    resource_provider_generation: int | UnsetType = UNSET


class AllInventories(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Everything that a provider has."""

    resource_provider_generation: int
    inventories: dict[Name, InventoryRecord]

    def wanted(self) -> dict[str, Inventory]:
        """By resource class."""
        return {name: item.inventory() for name, item in self.inventories.items()}


class OneInventory(_Fields, forbid_unknown_fields=True, kw_only=True):
    """What a provider has of one class."""

    resource_provider_generation: int


class NewInventory(_Fields, forbid_unknown_fields=True, kw_only=True):
    """One more class."""

    resource_class: Name
    resource_provider_generation: int | UnsetType = UNSET


Found = tuple[int, dict[str, Inventory]]


def _view(found: Found) -> dict[str, Any]:
    return {"resource_provider_generation": found[0], "inventories": found[1]}


def _view_one(generation: int, inventory: Inventory) -> dict[str, Any]:
    return {"resource_provider_generation": generation, **msgspec.structs.asdict(inventory)}


# -- read --------------------------------------------------------------------------------------------------------------


def _read(tx: Tx, uuid: str) -> Found:
    provider = providers.need(tx, uuid)
    return provider.generation, inventories.of_provider(tx, provider.id)


async def list_inventories(call: Call[Any]) -> Reply:
    """Everything that a provider has."""
    return fresh(call, _view(await call.rt.db.read(_read, call.path["uuid"])))


async def show_inventory(call: Call[Any]) -> Reply:
    """What a provider has of one class."""
    uuid, name = call.path["uuid"], call.path["resource_class"]
    generation, found = await call.rt.db.read(_read, uuid)
    if name not in found:
        raise InventoryNotFound(resource_class=name, uuid=uuid)
    return fresh(call, _view_one(generation, found[name]))


# -- write -------------------------------------------------------------------------------------------------------------


def check_capacity(call: Call[Any], uuid: str, wanted: Mapping[str, Inventory]) -> None:
    """Raise `InvalidCapacity` when more is reserved than there is. Before 1.26 something must be left."""
    for name, item in wanted.items():
        left = item.total - item.reserved
        if left < 0 or (left == 0 and not call.at_least("1.26")):
            relation = "greater than" if call.at_least("1.26") else "greater than or equal to"
            raise InvalidCapacity(uuid=uuid, resource_class=name, relation=relation)


def write_all(tx: Tx, uuid: str, generation: int, wanted: Mapping[str, Inventory], *, check_use: bool = True) -> int:
    """Make a provider's inventory exactly this; returns its new generation."""
    provider = providers.expect(tx, uuid, generation)
    if unknown := classes.unknown(tx, wanted):
        raise UnknownClasses(f"Unknown resource class in inventory for resource provider {uuid}: "
                             f"No such resource class {unknown[0]}.")
    if check_use:
        check_not_in_use(tx, provider.id, uuid, wanted)
    inventories.replace(tx, provider.id, wanted)
    providers.raise_generation(tx, [provider.id])
    return provider.generation + 1


def check_not_in_use(tx: Tx, provider_id: int, uuid: str, kept: Mapping[str, Inventory]) -> None:
    """Raise `InventoryInUse` when something of another class than these is given out."""
    used = sorted(name for (_, name), amount in allocations.usage_of(tx, [provider_id]).items() if amount)
    if gone := [name for name in used if name not in kept]:
        raise InventoryInUse(resource_class=", ".join(gone), uuid=uuid)


async def replace_inventories(call: Call[AllInventories]) -> Reply:
    """Everything at once: classes that are not named go."""
    uuid, wanted = call.path["uuid"], call.body.wanted()
    await call.rt.db.read(providers.need, uuid)
    check_capacity(call, uuid, wanted)
    generation = await call.rt.db.write(write_all, uuid, call.body.resource_provider_generation, wanted)
    return fresh(call, _view((generation, wanted)))


def _write_one(tx: Tx, uuid: str, generation: int | None, name: str, item: Inventory, *, new: bool) -> int:
    provider = providers.expect(tx, uuid, generation)
    current = inventories.of_provider(tx, provider.id)
    if unknown := classes.unknown(tx, [name]):
        raise UnknownClasses(f"Unknown resource class in inventory for resource provider {uuid}: "
                             f"No such resource class {unknown[0]}.")
    if new and name in current:
        raise GenerationConflict(f"Update conflict: inventory of {name} for resource provider {uuid} exists already.")
    if not new and name not in current:
        raise InvalidInput(f"Inventory for '{name}' on resource provider '{uuid}' invalid: there is none to update.")
    inventories.replace(tx, provider.id, current | {name: item})
    providers.raise_generation(tx, [provider.id])
    return provider.generation + 1


async def replace_inventory(call: Call[OneInventory]) -> Reply:
    """What a provider has of one class that it has already."""
    uuid, name, item = call.path["uuid"], call.path["resource_class"], call.body.inventory()
    await call.rt.db.read(providers.need, uuid)
    check_capacity(call, uuid, {name: item})
    wanted_generation = call.body.resource_provider_generation
    generation = await call.rt.db.write(_write_one, uuid, wanted_generation, name, item, new=False)
    return fresh(call, _view_one(generation, item))


async def create_inventory(call: Call[NewInventory]) -> Reply:
    """One more class."""
    uuid, name, item = call.path["uuid"], call.body.resource_class, call.body.inventory()
    await call.rt.db.read(providers.need, uuid)
    check_capacity(call, uuid, {name: item})
    given = call.body.resource_provider_generation
    wanted_generation = given if isinstance(given, int) else None
    generation = await call.rt.db.write(_write_one, uuid, wanted_generation, name, item, new=True)
    where = links.location(call, f"/resource_providers/{uuid}/inventories/{name}")
    return fresh(call, _view_one(generation, item), headers=where)


def _delete(tx: Tx, uuid: str, name: str | None) -> None:
    provider = providers.expect(tx, uuid, None)
    current = inventories.of_provider(tx, provider.id)
    if name is not None and name not in current:
        raise InventoryNotFound(resource_class=name, uuid=uuid)
    kept = {} if name is None else {key: item for key, item in current.items() if key != name}
    check_not_in_use(tx, provider.id, uuid, kept)
    inventories.replace(tx, provider.id, kept)
    providers.raise_generation(tx, [provider.id])


async def delete_inventories(call: Call[Any]) -> None:
    """Everything that a provider has, if nothing of it is given out."""
    await call.rt.db.write(_delete, call.path["uuid"], None)


async def delete_inventory(call: Call[Any]) -> None:
    """One class, if nothing of it is given out."""
    await call.rt.db.write(_delete, call.path["uuid"], call.path["resource_class"])


_ALL, _ONE = "/resource_providers/{uuid}/inventories", "/resource_providers/{uuid}/inventories/{resource_class}"
_RULE = "placement:resource_providers:inventories:"
ROUTES = (
    Route(method="GET", path=_ALL, handler=list_inventories, policy=_RULE + "list"),
    Route(
        method="POST", path=_ALL, handler=create_inventory, policy=_RULE + "create", body=NewInventory, success=201
    ),
    Route(method="PUT", path=_ALL, handler=replace_inventories, policy=_RULE + "update", body=AllInventories),
    Route(
        method="DELETE", path=_ALL, handler=delete_inventories, policy=_RULE + "delete", success=204, since="1.5"
    ),
    Route(method="GET", path=_ONE, handler=show_inventory, policy=_RULE + "show"),
    Route(method="PUT", path=_ONE, handler=replace_inventory, policy=_RULE + "update", body=OneInventory),
    Route(method="DELETE", path=_ONE, handler=delete_inventory, policy=_RULE + "delete", success=204),
)
