"""Find the ways to satisfy a request for allocation candidates. Pure: works on a snapshot of all providers."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pileus.services.placement.logic.amounts import Inventory
from pileus.services.placement.logic.request_groups import CandidatesQuery, Group
from pileus.services.placement.logic.standard_names import SHARES_VIA_AGGREGATE

NOTHING: frozenset[str] = frozenset()


class Stock(msgspec.Struct, frozen=True):
    """What a provider has of one class, and what of it is given out."""

    inventory: Inventory
    used: int

    def has(self, amount: int) -> bool:
        """Whether one consumer may have this amount now."""
        return self.inventory.gives_out(amount) and self.used + amount <= self.inventory.capacity


class Node(msgspec.Struct, frozen=True):
    """A provider, with everything that decides."""

    uuid: str
    parent_uuid: str | None
    root_uuid: str
    stocks: dict[str, Stock]
    traits: frozenset[str]
    aggregates: frozenset[str]


class Candidate(msgspec.Struct, frozen=True):
    """One way: amounts by provider and class; providers by the suffix of the group that they serve."""

    allocations: dict[str, dict[str, int]]
    mappings: dict[str, list[str]]

    def key(self) -> frozenset[object]:
        """The same for two candidates that differ in nothing."""
        amounts = {(uuid, name, amount) for uuid, line in self.allocations.items() for name, amount in line.items()}
        groups = {(suffix, *sorted(uuids)) for suffix, uuids in self.mappings.items()}
        return frozenset(amounts | groups)


Choice = tuple[tuple[Node, dict[str, int]], ...]
"""Who serves a group with what."""


class Snapshot:
    """All providers at one moment."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = {node.uuid: node for node in nodes}
        self.trees: dict[str, list[Node]] = {}
        for node in nodes:
            self.trees.setdefault(node.root_uuid, []).append(node)
        self._sharing: dict[str, list[Node]] = {}
        for node in nodes:
            if SHARES_VIA_AGGREGATE in node.traits:
                for aggregate in node.aggregates:
                    self._sharing.setdefault(aggregate, []).append(node)

    def sharing_with(self, tree: Sequence[Node]) -> list[Node]:
        """Providers of other trees that share with this one: through an aggregate that any of its providers is in."""
        if not self._sharing:
            return []
        found = {
            other.uuid: other
            for node in tree
            for aggregate in node.aggregates
            for other in self._sharing.get(aggregate, ())
            if other.root_uuid != tree[0].root_uuid
        }
        return sorted(found.values(), key=lambda node: node.uuid)

    def root_of(self, uuid: str | None) -> str | None:
        """The root of a provider's tree."""
        node = self.nodes.get(uuid or "")
        return node.root_uuid if node else None

    def line_of(self, uuid: str) -> set[str]:
        """A provider and all its ancestors."""
        line: set[str] = set()
        at: str | None = uuid
        while at is not None and at not in line:
            line.add(at)
            at = self.nodes[at].parent_uuid if at in self.nodes else None
        return line


def find(snapshot: Snapshot, query: CandidatesQuery, *, max_combinations: int) -> list[Candidate]:
    """Candidates, taken in turn from each tree, up to the query's limit.

    max_combinations: how many combinations are looked at before the search ends with what it has.
    """
    searches = deque(_TreeSearch(snapshot, query, tree).candidates() for tree in snapshot.trees.values())
    found: dict[frozenset[object], Candidate] = {}
    looked_at = 0
    while searches and looked_at < max_combinations and (query.limit is None or len(found) < query.limit):
        search = searches.popleft()
        for candidate in search:
            looked_at += 1
            if candidate is not None:
                found.setdefault(candidate.key(), candidate)
            searches.append(search)
            break
    return list(found.values())


class _TreeSearch:
    """The ways to satisfy the request with one tree and those that share with it."""

    def __init__(self, snapshot: Snapshot, query: CandidatesQuery, tree: Sequence[Node]) -> None:
        self.snapshot = snapshot
        self.query = query
        self.tree = tree
        self.root = snapshot.nodes.get(tree[0].root_uuid)

    def candidates(self) -> Iterator[Candidate | None]:
        """Each combination in turn; None for one that does not do."""
        if self.root is None or not self.query.root_traits.met_by(self.root.traits):
            return
        nodes = [*self.tree, *self.snapshot.sharing_with(self.tree)]
        options: list[list[Choice]] = []
        for group in self.query.single:
            choices = self._single(group, nodes)
            if not choices:
                return
            options.append(choices)
        groups = [*self.query.single]
        if self.query.shared is None:
            for picks in itertools.product(*options):
                yield self._candidate(groups, picks)
            return
        lists = self._by_class(self.query.shared, nodes)
        if not all(lists.values()):
            return
        groups.append(self.query.shared)
        for nodes_by_class in itertools.product(*lists.values()):
            shared = _together(dict(zip(lists, nodes_by_class, strict=True)), self.query.shared)
            if not self._shared_fits(shared):
                yield None
                continue
            for own in itertools.product(*options):
                yield self._candidate(groups, (*own, shared))

    def _single(self, group: Group, nodes: Sequence[Node]) -> list[Choice]:
        """Providers that can serve a whole group alone."""
        root = self.snapshot.root_of(group.in_tree)
        return [
            ((node, group.resources),)
            for node in nodes
            if (group.in_tree is None or node.root_uuid == root)
            and group.traits.met_by(node.traits)
            and group.aggregates.met_by(node.aggregates)
            and all(name in node.stocks and node.stocks[name].has(amount) for name, amount in group.resources.items())
        ]

    def _by_class(self, group: Group, nodes: Sequence[Node]) -> dict[str, list[Node]]:
        """Providers that can serve each class of the group without a suffix."""
        root = self.snapshot.root_of(group.in_tree)
        willing = [
            node
            for node in nodes
            if (group.in_tree is None or node.root_uuid == root)
            and not group.traits.forbidden & node.traits
            and group.aggregates.met_by(self._spanned(node))
        ]
        return {
            name: [node for node in willing if name in node.stocks and node.stocks[name].has(amount)]
            for name, amount in group.resources.items()
        }

    def _spanned(self, node: Node) -> frozenset[str]:
        """A provider's aggregates with those of its root, which span the tree."""
        root = self.snapshot.nodes.get(node.root_uuid)
        return node.aggregates | (root.aggregates if root else NOTHING)

    def _shared_fits(self, choice: Choice) -> bool:
        """What the group requires must be found among the providers that serve it, on any of them."""
        assert self.query.shared is not None
        return self.query.shared.traits.covered_by(NOTHING.union(*(node.traits for node, _ in choice)))

    def _candidate(self, groups: Sequence[Group], picks: Sequence[Choice]) -> Candidate | None:
        mappings = {group.suffix: [node.uuid for node, _ in pick] for group, pick in zip(groups, picks, strict=True)}
        if self.query.isolate:
            alone = [mappings[group.suffix][0] for group in self.query.single]
            if len(set(alone)) < len(alone):
                return None
        if not all(self._one_subtree({mappings[s][0] for s in suffixes}) for suffixes in self.query.same_subtree):
            return None
        allocations = _sum(picks)
        if not self._room(allocations):
            return None
        if not self.query.nested and self._uses_nesting(allocations):
            return None
        return Candidate(allocations, mappings)

    def _one_subtree(self, uuids: set[str]) -> bool:
        """Whether one of the providers is above all the others."""
        lines = [self.snapshot.line_of(uuid) for uuid in uuids]
        return any(all(uuid in line for line in lines) for uuid in uuids)

    def _room(self, allocations: Mapping[str, Mapping[str, int]]) -> bool:
        """Groups that meet at one provider must fit together; alone each has been seen to fit."""
        for uuid, amounts in allocations.items():
            stocks = self.snapshot.nodes[uuid].stocks
            for name, amount in amounts.items():
                stock = stocks[name]
                if amount > stock.inventory.max_unit or stock.used + amount > stock.inventory.capacity:
                    return False
        return True

    def _uses_nesting(self, allocations: Mapping[str, object]) -> bool:
        roots = Counter(self.snapshot.nodes[uuid].root_uuid for uuid in allocations)
        return any(count > 1 for count in roots.values())


def _together(nodes: Mapping[str, Node], group: Group) -> Choice:
    """One provider per class, as amounts per provider."""
    amounts: dict[str, tuple[Node, dict[str, int]]] = {}
    for name, node in nodes.items():
        amounts.setdefault(node.uuid, (node, {}))[1][name] = group.resources[name]
    return tuple(amounts.values())


def _sum(picks: Sequence[Choice]) -> dict[str, dict[str, int]]:
    total: dict[str, dict[str, int]] = {}
    for node, amounts in itertools.chain.from_iterable(picks):
        if not amounts:
            continue
        own = total.setdefault(node.uuid, {})
        for name, amount in amounts.items():
            own[name] = own.get(name, 0) + amount
    return total
