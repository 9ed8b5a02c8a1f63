"""A request for allocation candidates: groups of wishes, and how the groups relate.

The group without a suffix may be served by several providers of a tree and by providers that share with it. Each group
with a suffix is served by one provider. Source: the placement API reference and "modeling with provider trees".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from pileus.kernel.http.versions import Version
from pileus.services.placement.errors import BadQueryValue, DuplicateQueryKey, InvalidInput, MissingQueryValue
from pileus.services.placement.logic import query_language
from pileus.services.placement.logic.query_language import AggregateWish, Features, TraitWish

GROUP_KEY = re.compile(r"(resources|required|member_of|in_tree)([a-zA-Z0-9_-]{0,64})")
NUMBER = re.compile(r"[1-9][0-9]*")
LIMIT = re.compile(r"[1-9][0-9]{0,8}")
MAX_GROUPS = 100
# The version from which there is such a parameter: without a suffix, and with one.
SINCE = {
    "resources": ("1.10", "1.25"), "required": ("1.17", "1.25"), "member_of": ("1.21", "1.25"),
    "in_tree": ("1.31", "1.31"),
}
SINGLE = {"limit": "1.16", "group_policy": "1.25", "root_required": "1.35"}
REPEATABLE = {"member_of": "1.24", "required": "1.39"}


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One group. in_tree: any provider of the tree that shall serve it."""

    suffix: str
    resources: dict[str, int] = {}
    traits: TraitWish = TraitWish()
    aggregates: AggregateWish = AggregateWish()
    in_tree: str | None = None


class CandidatesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The whole request.

    shared: the group without a suffix, if it asks for anything. single: groups with a suffix. isolate: each of these
    is served by another provider. same_subtree: sets of suffixes of which one provider must be the
    ancestor of the others (or the same). nested: whether one candidate may use several providers of one tree.
    """

    shared: Group | None
    single: tuple[Group, ...] = ()
    isolate: bool = False
    limit: int | None = None
    root_traits: TraitWish = TraitWish()
    same_subtree: tuple[frozenset[str], ...] = ()
    nested: bool = True

    @property
    def groups(self) -> tuple[Group, ...]:
        """All groups."""
        return (*((self.shared,) if self.shared else ()), *self.single)

    def classes(self) -> set[str]:
        """Every resource class that is named."""
        return {name for group in self.groups for name in group.resources}

    def traits(self) -> set[str]:
        """Every trait that is named."""
        return set(self.root_traits.names.union(*(group.traits.names for group in self.groups)))


Pairs = Sequence[tuple[str, str]]
Gathered = dict[str, dict[str, list[str]]]


def parse(pairs: Pairs, version: Version, features: Features) -> CandidatesQuery:
    """Read a query string. Errors are those of `placement.errors`."""
    plain, gathered = _gather(pairs, version)
    subtrees = [_suffixes(value) for value in plain.get("same_subtree", [])]
    free = frozenset().union(*subtrees)
    groups = {suffix: _group(suffix, values, features) for suffix, values in gathered.items()}
    _check_groups(groups, subtrees, free, version)
    single = tuple(group for suffix, group in groups.items() if suffix)
    return CandidatesQuery(
        shared=groups.get(""),
        single=single,
        isolate=_isolate(plain, single),
        limit=_limit(plain),
        root_traits=query_language.traits(plain.get("root_required", []), "root_required", features),
        same_subtree=tuple(subtrees),
        nested=version >= Version(1, 29),
    )


def _gather(pairs: Pairs, version: Version) -> tuple[Mapping[str, list[str]], Gathered]:
    plain: dict[str, list[str]] = {}
    gathered: Gathered = {}
    for key, value in pairs:
        if key in SINGLE or key == "same_subtree":
            if version < Version.parse(SINGLE.get(key, "1.36")):
                raise _unexpected(key)
            if key in plain and key != "same_subtree":
                raise DuplicateQueryKey(name=key)
            plain.setdefault(key, []).append(value)
            continue
        kind, suffix = _group_key(key, version)
        values = gathered.setdefault(suffix, {}).setdefault(kind, [])
        if values and (kind not in REPEATABLE or version < Version.parse(REPEATABLE[kind])):
            raise DuplicateQueryKey(name=key)
        values.append(value)
    if len(gathered) > MAX_GROUPS:
        raise InvalidInput(f"Invalid query string parameters: there are more than {MAX_GROUPS} request groups.")
    return plain, gathered


def _group_key(key: str, version: Version) -> tuple[str, str]:
    match = GROUP_KEY.fullmatch(key)
    if match is None:
        raise _unexpected(key)
    kind, suffix = match.groups()
    if version < Version.parse(SINCE[kind][1 if suffix else 0]):
        raise _unexpected(key)
    if suffix and version < Version(1, 33) and not NUMBER.fullmatch(suffix):
        raise _unexpected(key)
    return kind, suffix


def _unexpected(key: str) -> InvalidInput:
    return InvalidInput(
        f"Invalid query string parameters: Additional properties are not allowed ('{key[:255]}' was unexpected)"
    )


def _group(suffix: str, values: Mapping[str, list[str]], features: Features) -> Group:
    return Group(
        suffix=suffix,
        resources=query_language.resources(values["resources"][0]) if "resources" in values else {},
        traits=query_language.traits(values.get("required", []), f"required{suffix}", features),
        aggregates=query_language.aggregates(values.get("member_of", []), f"member_of{suffix}", features),
        in_tree=query_language.uuid(values["in_tree"][0], f"in_tree{suffix}") if "in_tree" in values else None,
    )


def _check_groups(
    groups: Mapping[str, Group], subtrees: Sequence[frozenset[str]], free: frozenset[str], version: Version
) -> None:
    if not any(group.resources for group in groups.values()):
        if version < Version(1, 25):
            raise InvalidInput("Invalid query string parameters: 'resources' is a required property")
        raise MissingQueryValue("At least one request group (`resources` or `resources{$S}`) is required.")
    for suffixes in subtrees:
        if unknown := sorted(suffixes - groups.keys()):
            raise BadQueryValue(f"Real suffixes should be specified in `same_subtree`: {', '.join(unknown)} not found.")
    for suffix, group in groups.items():
        if not group.resources and suffix not in free:
            raise BadQueryValue(
                f"All request groups must specify resources, or be named by `same_subtree`: 'resources{suffix}' is "
                "missing."
            )


def _suffixes(value: str) -> frozenset[str]:
    found = [suffix.strip() for suffix in value.split(",")]
    if not all(found):
        raise BadQueryValue("Empty string (unsuffixed group) can not be specified in `same_subtree`")
    return frozenset(found)


def _isolate(plain: Mapping[str, list[str]], single: Sequence[Group]) -> bool:
    policy = plain.get("group_policy", [None])[0]
    if policy not in (None, "none", "isolate"):
        raise InvalidInput(f"Invalid query string parameters: '{policy[:255] if policy else ''}' is not one of "
                           "['none', 'isolate']")
    if policy is None and len([group for group in single if group.resources]) > 1:
        raise BadQueryValue(
            "The \"group_policy\" parameter is required when specifying more than one \"resources{N}\" parameter."
        )
    return policy == "isolate"


def _limit(plain: Mapping[str, list[str]]) -> int | None:
    if "limit" not in plain:
        return None
    if not LIMIT.fullmatch(plain["limit"][0]):
        raise InvalidInput("Invalid query string parameters: 'limit' does not match '^[1-9][0-9]*$'")
    return int(plain["limit"][0])
