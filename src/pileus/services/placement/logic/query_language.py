"""What stands in query parameters: `VCPU:2,DISK_GB:10`, `TRAIT,!OTHER`, `in:A,B`, `!in:agg1,agg2`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from pileus.services.placement.errors import BadQueryValue
from pileus.services.placement.logic.amounts import MAX_INT
from pileus.services.placement.logic.uuids import canonical

_RESOURCE = re.compile(r"([A-Z0-9_]{1,255}):([0-9]{1,10})")


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """What a microversion's query language has."""

    forbidden_traits: bool = True
    any_traits: bool = True
    forbidden_aggregates: bool = True


class TraitWish(msgspec.Struct, frozen=True):
    """Traits: of each set in `required` at least one, none of `forbidden`."""

    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()

    def met_by(self, traits: frozenset[str]) -> bool:
        """Whether a provider with these traits will do."""
        return not (self.forbidden & traits) and self.covered_by(traits)

    def covered_by(self, traits: frozenset[str]) -> bool:
        """Whether everything required is there, whatever else is."""
        return all(choice & traits for choice in self.required)

    @property
    def names(self) -> frozenset[str]:
        """Every trait that is named."""
        return self.forbidden.union(*self.required)


class AggregateWish(msgspec.Struct, frozen=True):
    """Aggregates: of each set in `required` at least one, none of `forbidden`."""

    required: tuple[frozenset[str], ...] = ()
    forbidden: frozenset[str] = frozenset()

    def met_by(self, aggregates: frozenset[str]) -> bool:
        """Whether a provider in these aggregates will do."""
        return not (self.forbidden & aggregates) and all(choice & aggregates for choice in self.required)


def resources(text: str) -> dict[str, int]:
    """`VCPU:2,DISK_GB:10` as amounts by class."""
    amounts: dict[str, int] = {}
    if not text.strip():
        raise BadQueryValue(
            "Badly formed resources parameter. Expected resources query string parameter in form: "
            "?resources=VCPU:2,MEMORY_MB:1024. Got: empty string."
        )
    for item in text.split(","):
        match = _RESOURCE.fullmatch(item.strip())
        if match is None:
            raise BadQueryValue(
                "Badly formed resources parameter. Expected resources query string parameter in form: "
                f"?resources=VCPU:2,MEMORY_MB:1024. Got: {item[:255]}."
            )
        name, amount = match.group(1), int(match.group(2))
        if not 1 <= amount <= MAX_INT:
            raise BadQueryValue(f"Requested resource {name} has an amount of {amount}; it must be at least 1.")
        amounts[name] = amount
    return amounts


def traits(values: Sequence[str], name: str, features: Features) -> TraitWish:
    """All values of a `required` parameter together."""
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        if value.startswith("in:") and features.any_traits:
            choices = [item.strip() for item in value.removeprefix("in:").split(",")]
            if not all(choices) or any(item.startswith("!") for item in choices):
                raise BadQueryValue(f"Invalid query string parameters: '{name}' cannot be read: {value[:255]}")
            required.append(frozenset(choices))
            continue
        for item in (part.strip() for part in value.split(",")):
            bare = item.removeprefix("!") if features.forbidden_traits else item
            if not bare or bare.startswith("!") or bare.startswith("in:"):
                wanted = "HW_CPU_X86_VMX,!CUSTOM_MAGIC" if features.forbidden_traits else "HW_CPU_X86_VMX,CUSTOM_MAGIC"
                raise BadQueryValue(
                    f"Invalid query string parameters: Expected '{name}' parameter value of the form: {wanted}. "
                    f"Got: {value[:255]}"
                )
            if bare == item:
                required.append(frozenset({item}))
            else:
                forbidden.add(bare)
    both = sorted(forbidden & {next(iter(choice)) for choice in required if len(choice) == 1})
    if both:
        raise BadQueryValue(f"Conflicting required and forbidden traits found in the following traits keys: {name}: "
                            f"({', '.join(both)})")
    return TraitWish(tuple(required), frozenset(forbidden))


def aggregates(values: Sequence[str], name: str, features: Features) -> AggregateWish:
    """All values of a `member_of` parameter together."""
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        negative = value.startswith("!") and features.forbidden_aggregates
        rest = value.removeprefix("!") if negative else value
        several = rest.startswith("in:")
        uuids = {canonical(item) for item in (rest.removeprefix("in:").split(",") if several else [rest])}
        known = {item for item in uuids if item is not None}
        if known != uuids:
            raise BadQueryValue(
                f"Invalid query string parameters: Expected '{name}' parameter to contain valid UUID(s). Several are "
                f"written as 'in:' and a list. Got: {value[:255]}"
            )
        if negative:
            forbidden.update(known)
        else:
            required.append(frozenset(known))
    return AggregateWish(tuple(required), frozenset(forbidden))


def uuid(value: str, name: str) -> str:
    """A parameter that is one uuid."""
    found = canonical(value)
    if found is None:
        raise BadQueryValue(f"Invalid query string parameters: '{name}' is not a 'uuid'. Got: {value[:255]}")
    return found
