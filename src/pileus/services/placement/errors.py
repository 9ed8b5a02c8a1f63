"""Every error of the placement API: status, code, text; and how an error looks on the wire.

`type` is placement's own stable error code. Source of shape and codes: the errors guideline of the API group and the
placement API reference.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from pileus.kernel.errors import BadRequest, Conflict, NotAcceptable, NotFound, ServiceError, UnsupportedMediaType

UNDEFINED = "placement.undefined_code"


def render(error: ServiceError, request_id: str) -> tuple[bytes, str]:
    """An error as placement clients know it: a list with one object."""
    inner: dict[str, Any] = {
        "status": error.code,
        "title": HTTPStatus(error.code).phrase,
        "detail": _detail(error),
        "code": error.type if error.type.startswith("placement.") else UNDEFINED,
        "request_id": request_id,
    }
    if isinstance(error, NotAcceptable):
        inner["min_version"], inner["max_version"] = (str(error.values[name]) for name in ("minimum", "maximum"))
    return msgspec.json.encode({"errors": [inner]}), "application/json"


_KERNEL_WORDS = (("Invalid input: ", "JSON does not validate: "), ("Malformed request body: ", "Malformed JSON: "))


def _detail(error: ServiceError) -> str:
    """The kernel's words about bad bodies, in those that placement's clients look for."""
    text = error.text
    if isinstance(error, UnsupportedMediaType) and "content_type" in error.values:
        return f"The media type {error.values['content_type']} is not supported, use application/json"
    for own, known in _KERNEL_WORDS:
        if text.startswith(own):
            return known + text.removeprefix(own)
    return text


class InvalidInput(BadRequest):
    """A body or parameter that cannot be used; the text says why."""

    type = UNDEFINED


class BadQueryValue(BadRequest):
    type = "placement.query.bad_value"


class MissingQueryValue(BadRequest):
    type = "placement.query.missing_value"


class DuplicateQueryKey(BadRequest):
    type = "placement.query.duplicate_key"
    text = "Query parameter '{name}' may be specified only once."


class ProviderNotFound(NotFound):
    type = UNDEFINED
    text = "No resource provider with uuid {uuid} found"


class InventoryNotFound(NotFound):
    type = UNDEFINED
    text = "No inventory of class {resource_class} for {uuid}"


class NoAllocations(NotFound):
    type = UNDEFINED
    text = "No allocations for consumer '{uuid}'"


class ClassNotFound(NotFound):
    type = UNDEFINED
    text = "No such resource class {name}"


class TraitNotFound(NotFound):
    type = UNDEFINED
    text = "No such trait(s): {name}"


class UnknownProviders(BadRequest):
    """A body names providers that are not there."""

    type = UNDEFINED
    text = "Unable to allocate inventory: Allocation for resource provider '{uuids}' that does not exist."


class UnknownProviderToReshape(BadRequest):
    type = "placement.resource_provider.not_found"
    text = "No such resource provider: {uuids}"


class UnknownClasses(BadRequest):
    type = UNDEFINED
    text = "No such resource class {names}."


class UnknownTraits(BadRequest):
    type = UNDEFINED
    text = "No such trait(s): {names}."


class InvalidCapacity(BadRequest):
    type = UNDEFINED
    text = (
        "Unable to update inventory for resource provider {uuid}: "
        "Invalid inventory for '{resource_class}' on resource provider '{uuid}'. "
        "The reserved value is {relation} total."
    )


class GenerationConflict(Conflict):
    """Somebody else changed the provider since it was read."""

    type = "placement.concurrent_update"
    text = "resource provider generation conflict for provider {uuid}: actual: {actual}, given: {given}"


class ConsumerConflict(Conflict):
    """Somebody else changed the consumer since it was read."""

    type = "placement.concurrent_update"
    text = "consumer generation conflict - expected {actual} but got {given}"


class InventoryInUse(Conflict):
    type = "placement.inventory.inuse"
    text = "Inventory for '{resource_class}' on resource provider '{uuid}' in use."


class NoInventory(Conflict):
    """Something is to be allocated from a provider that does not have it."""

    type = UNDEFINED
    text = (
        "Unable to allocate inventory: "
        "Inventory for '{resource_class}' on resource provider '{uuid}' invalid: it has none."
    )


class NoRoom(Conflict):
    """Less is left than is asked for, or the amount is not one that the inventory gives out."""

    type = UNDEFINED
    text = (
        "Unable to allocate inventory: Unable to create allocation for '{resource_class}' on resource provider "
        "'{uuid}'. {reason}"
    )


class DuplicateName(Conflict):
    type = "placement.duplicate_name"
    text = "Conflicting resource provider {field}: {value} already exists."


class DuplicateId(Conflict):
    type = UNDEFINED
    text = "Conflicting resource provider {field}: {value} already exists."


class ProviderInUse(Conflict):
    type = "placement.resource_provider.inuse"
    text = "Unable to delete resource provider {uuid}: Resource provider has allocations."


class ProviderHasChildren(Conflict):
    type = "placement.resource_provider.cannot_delete_parent"
    text = (
        "Unable to delete parent resource provider {uuid}: It has child resource providers. "
        "Delete the child providers first."
    )


class ClassExists(Conflict):
    type = UNDEFINED
    text = "Conflicting resource class already exists: {name}"


class ClassInUse(Conflict):
    type = UNDEFINED
    text = "Error in delete resource class: Resource class {name} is in use."


class TraitInUse(Conflict):
    type = UNDEFINED
    text = "The trait {name} is in use by a resource provider."
