"""The search for candidates: each one found really fits, and none that fits is missed."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from pileus.kernel.http import Version
from pileus.services.placement.logic import candidates, request_groups
from pileus.services.placement.logic.amounts import Inventory
from pileus.services.placement.logic.candidates import Node, Snapshot, Stock
from pileus.services.placement.logic.query_language import Features
from pileus.services.placement.logic.request_groups import CandidatesQuery, Group

CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")
LATEST = Version(1, 39)
ENOUGH = 10_000


@st.composite
def stocks(draw: st.DrawFn) -> dict[str, Stock]:
    chosen = draw(st.sets(st.sampled_from(CLASSES)))
    found = {}
    for name in chosen:
        total = draw(st.integers(1, 8))
        inventory = Inventory(total=total, max_unit=draw(st.integers(1, 8)), step_size=draw(st.integers(1, 2)))
        found[name] = Stock(inventory, draw(st.integers(0, total)))
    return found


@st.composite
def clouds(draw: st.DrawFn) -> Snapshot:
    """Some trees of a root and up to two children, and a provider that shares with some of them."""
    nodes = []
    for number in range(draw(st.integers(1, 3))):
        root = f"root{number}"
        aggregates = frozenset(draw(st.sets(st.sampled_from(["agg"]))))
        nodes.append(Node(root, None, root, draw(stocks()), frozenset(), aggregates))
        for child in range(draw(st.integers(0, 2))):
            nodes.append(Node(f"{root}-{child}", root, root, draw(stocks()), frozenset(), frozenset()))
    shares = frozenset({"MISC_SHARES_VIA_AGGREGATE"})
    nodes.append(Node("store", None, "store", draw(stocks()), shares, frozenset({"agg"})))
    return Snapshot(nodes)


amounts = st.dictionaries(st.sampled_from(CLASSES), st.integers(1, 4), min_size=1)


def _usable(snapshot: Snapshot, root: str) -> list[Node]:
    tree = snapshot.trees[root]
    near = any("agg" in node.aggregates for node in tree)
    return [*tree, *([snapshot.nodes["store"]] if near and root != "store" else [])]


@given(clouds(), amounts)
@settings(max_examples=80, deadline=None)
def test_all_ways_and_only_those_are_found(snapshot: Snapshot, wanted: dict[str, int]) -> None:
    query = CandidatesQuery(shared=Group(suffix="", resources=wanted))
    found = candidates.find(snapshot, query, max_combinations=ENOUGH)
    expected = set()
    for root in snapshot.trees:
        for picks in itertools.product(_usable(snapshot, root), repeat=len(wanted)):
            lines = list(zip(picks, wanted.items(), strict=True))
            if all(name in node.stocks and node.stocks[name].has(amount) for node, (name, amount) in lines):
                expected.add(frozenset((node.uuid, name, amount) for node, (name, amount) in lines))
    ways = [
        frozenset((uuid, name, amount) for uuid, line in one.allocations.items() for name, amount in line.items())
        for one in found
    ]
    assert set(ways) == expected
    assert len(ways) == len(set(ways))


@given(clouds(), amounts, amounts, st.booleans())
@settings(max_examples=80, deadline=None)
def test_groups_that_meet_at_a_provider_fit_together(
    snapshot: Snapshot, first: dict[str, int], second: dict[str, int], isolate: bool
) -> None:
    groups = (Group(suffix="1", resources=first), Group(suffix="2", resources=second))
    query = CandidatesQuery(shared=None, single=groups, isolate=isolate)
    for one in candidates.find(snapshot, query, max_combinations=ENOUGH):
        (at_first,), (at_second,) = one.mappings["1"], one.mappings["2"]
        assert not (isolate and at_first == at_second)
        total: dict[tuple[str, str], int] = {}
        for uuid, line in ((at_first, first), (at_second, second)):
            for name, amount in line.items():
                total[uuid, name] = total.get((uuid, name), 0) + amount
        assert total == {(uuid, n): a for uuid, line in one.allocations.items() for n, a in line.items()}
        for (uuid, name), amount in total.items():
            stock = snapshot.nodes[uuid].stocks[name]
            assert stock.used + amount <= stock.inventory.capacity


def test_the_limit_is_spread_over_the_hosts() -> None:
    nodes = []
    for number in range(4):
        root = f"host{number}"
        nodes.append(Node(root, None, root, {}, frozenset(), frozenset()))
        for child in range(10):
            stock = {"VGPU": Stock(Inventory(total=1), 0)}
            nodes.append(Node(f"{root}-{child}", root, root, stock, frozenset(), frozenset()))
    query = CandidatesQuery(shared=Group(suffix="", resources={"VGPU": 1}), limit=4)
    found = candidates.find(Snapshot(nodes), query, max_combinations=ENOUGH)
    assert {next(iter(one.allocations)).split("-")[0] for one in found} == {"host0", "host1", "host2", "host3"}


def test_the_search_is_bounded() -> None:
    stock = {f"CUSTOM_{number}": Stock(Inventory(total=100), 0) for number in range(8)}
    nodes = [Node("root", None, "root", {}, frozenset(), frozenset())]
    nodes += [Node(f"child{number}", "root", "root", stock, frozenset(), frozenset()) for number in range(10)]
    query = CandidatesQuery(shared=Group(suffix="", resources=dict.fromkeys(stock, 1)))
    assert len(candidates.find(Snapshot(nodes), query, max_combinations=500)) == 500


def test_a_query_string_is_read_into_groups() -> None:
    pairs = [
        ("resources", "VCPU:2,MEMORY_MB:512"), ("required", "HW_CPU_X86_AVX2,!CUSTOM_BAD"), ("required", "in:A,B"),
        ("resources_NET", "SRIOV_NET_VF:1"), ("group_policy", "isolate"), ("limit", "7"),
        ("required_ROOT", "CUSTOM_TOP"), ("same_subtree", "_NET,_ROOT"),
    ]
    query = request_groups.parse(pairs, LATEST, Features())
    assert query.shared is not None
    assert query.shared.resources == {"VCPU": 2, "MEMORY_MB": 512}
    assert query.shared.traits.required == (frozenset({"HW_CPU_X86_AVX2"}), frozenset({"A", "B"}))
    assert query.shared.traits.forbidden == {"CUSTOM_BAD"}
    assert [group.suffix for group in query.single] == ["_NET", "_ROOT"]
    assert (query.isolate, query.limit) == (True, 7)
    assert query.same_subtree == (frozenset({"_NET", "_ROOT"}),)
