"""What is known of one operation: its hops from the trace database and the steps of its flows, put together again.

Most hops carry the request they belong to. Agents that make a whole host agree with what is wanted cannot say which
request a change came from: their hops name only the resource. Such a hop belongs to the operation that had to
do with the resource at that time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from pileus.kernel import context as ctx
from pileus.kernel.db import Database
from pileus.kernel.flows.tables import FlowSummary
from pileus.kernel.observe import store
from pileus.kernel.observe.hops import Hop
from pileus.kernel.observe.steps import Journal

FOLLOWS_WITHIN = timedelta(seconds=60)
"""So long after a request an agent's work on what it changed still counts as done for it."""
SETTLES_WITHIN = timedelta(seconds=5)
"""The same after the end of a flow, which waits for agents itself."""
ROUNDING = timedelta(milliseconds=3)
MAX_REQUESTS = 100
MAX_DEPTH = 50


class Operation(msgspec.Struct, frozen=True):
    """The hops in the order of their beginning, how deep each is below what began it all, and the flows."""

    hops: tuple[Hop, ...]
    flows: tuple[FlowSummary, ...]
    depths: tuple[int, ...]
    roots: tuple[str, ...]
    """Per hop: the id of the topmost hop above it."""

    @property
    def active(self) -> bool:
        """Whether a flow of it has not ended; clean-up that goes on behind a final state does not count."""
        return any(flow.ended_at is None and not flow.settled for flow in self.flows)


class Traces:
    """Where operations are looked up. `database` is None where nobody has traced anything yet."""

    def __init__(self, database: Database | None, journals: Sequence[Journal]) -> None:
        self._database = database
        self._journals = journals

    def find(self, target: str) -> Operation | None:
        """The operation of a request id (or a global one), or all that is known of a resource; None: nothing."""
        found = _Found()
        if ctx.is_request_id(target):
            self._of_requests(found, [target])
            keep = _belonging(found.hops, lambda hop: target in (hop.request_id, hop.global_request_id))
        else:
            self._of_resource(found, target)
            keep = _about(found.hops, target)
        if not keep and not found.flows:
            return None
        kept = [hop for hop in found.hops if _key(hop) in keep]
        flows = [flow for flow in found.flows.values() if target in (
            flow.request_id, flow.global_request_id, flow.resource_id
        )]
        return _arranged(self._with_agents(kept, flows), flows)

    def step_name(self, flow: FlowSummary) -> str:
        """The step that an active flow is at; empty when no code here knows it."""
        return next((name for journal in self._journals if (name := journal.step_name(flow))), "")

    def _of_requests(self, found: _Found, request_ids: Iterable[str]) -> None:
        """Hops and flows of these requests, and of all that were made under the same global ids."""
        waiting, seen = list(request_ids), set[str]()
        while waiting and len(seen) < MAX_REQUESTS:
            ids = list(dict.fromkeys(waiting))[:MAX_REQUESTS]
            seen |= set(ids)
            found.add(self._read(store.of_requests, ids))
            for journal in self._journals:
                for one in ids:
                    found.add_flows(*journal.database.run(journal.of_request, one))
            mentioned = {one for hop in found.hops for one in (hop.request_id, hop.global_request_id) if one}
            waiting = sorted(mentioned - seen)

    def _of_resource(self, found: _Found, resource_id: str) -> None:
        for journal in self._journals:
            found.add_flows(*journal.database.run(journal.of_resource, resource_id))
        about = self._read(store.of_resources, [resource_id])
        found.add(about)
        newest = sorted((hop for hop in found.hops if hop.request_id), key=lambda hop: hop.at, reverse=True)
        self._of_requests(found, list(dict.fromkeys(hop.request_id for hop in newest))[:MAX_REQUESTS])

    def _with_agents(self, kept: list[Hop], flows: list[FlowSummary]) -> list[Hop]:
        """These hops, with the work of agents on their resources that was done for them and for nobody else."""
        resources = {hop.resource_id for hop in kept if hop.kind == "http" and hop.resource_id}
        if not resources:
            return kept
        agents = self._read(store.without_request, resources, min(hop.at for hop in kept))
        changes = self._read(store.changes, {hop.resource_id for hop in agents})
        found, ids = {_key(hop): hop for hop in kept}, {hop.id for hop in kept}
        windows = _windows(kept, flows)
        for hop in agents:
            cause = _cause_of(hop, changes, ids, windows)
            if cause:
                found[_key(hop)] = msgspec.structs.replace(hop, cause=cause)
        return list(found.values())

    def _read(self, query: Callable[..., list[Hop]], *args: Any) -> list[Hop]:
        return [] if self._database is None else self._database.run(query, *args)


class _Found:
    """What was read so far, each thing once."""

    def __init__(self) -> None:
        self._hops: dict[tuple[Any, ...], Hop] = {}
        self.flows: dict[str, FlowSummary] = {}

    @property
    def hops(self) -> list[Hop]:
        return list(self._hops.values())

    def add(self, hops: Iterable[Hop]) -> None:
        self._hops |= {_key(hop): hop for hop in hops}

    def add_flows(self, flows: Iterable[FlowSummary], steps: Iterable[Hop]) -> None:
        self.flows |= {flow.id: flow for flow in flows}
        self.add(steps)


def _key(hop: Hop) -> tuple[Any, ...]:
    return (hop.id, hop.at, hop.outcome)


def _belonging(hops: list[Hop], is_seed: Callable[[Hop], bool]) -> set[tuple[Any, ...]]:
    """The seeds, and all that they caused."""
    ids = {hop.id for hop in hops if is_seed(hop)}
    keep = {_key(hop) for hop in hops if is_seed(hop)}
    return keep | _caused_by(hops, ids)


def _caused_by(hops: list[Hop], ids: set[str], other: str | None = None) -> set[tuple[Any, ...]]:
    """What these hops caused, and so on. other: not the flows of other resources than this."""
    keep: set[tuple[Any, ...]] = set()
    grown = True
    while grown:
        grown = False
        for hop in hops:
            if hop.cause not in ids or _key(hop) in keep:
                continue
            if other is not None and hop.kind == "flow" and hop.resource_id != other:
                continue
            keep.add(_key(hop))
            ids.add(hop.id)
            grown = True
    return keep


def _about(hops: list[Hop], resource_id: str) -> set[tuple[Any, ...]]:
    """The hops that name a resource, what caused them, and what they caused."""
    by_id = {hop.id: hop for hop in hops}
    seeds = [hop for hop in hops if hop.resource_id == resource_id]
    keep = {_key(hop) for hop in seeds}
    for hop in seeds:
        for _ in range(MAX_DEPTH):
            if (above := by_id.get(hop.cause)) is None or _key(above) in keep:
                break
            keep.add(_key(above))
            hop = above
    return keep | _caused_by(hops, {hop.id for hop in seeds}, other=resource_id)


class _Window(msgspec.Struct):
    """When an operation was under way, and what it was about. end: None while it is."""

    start: datetime
    end: datetime | None
    resources: set[str]

    def has(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at <= self.end)


def _windows(hops: list[Hop], flows: list[FlowSummary]) -> dict[str, _Window]:
    """By the id of the topmost hop of each operation."""
    by_id, found = {hop.id: hop for hop in hops}, dict[str, _Window]()
    for hop in sorted((one for one in hops if one.request_id), key=lambda one: one.at):
        root = (_chain(hop, by_id) or [hop.id])[-1]
        ended = hop.at + timedelta(milliseconds=hop.duration_ms or 0) + FOLLOWS_WITHIN
        window = found.setdefault(root, _Window(hop.at, ended, set()))
        window.end = max(window.end or ended, ended)
        window.resources.add(hop.resource_id)
    for root, window in found.items():
        ends = [flow.ended_at for flow in flows if flow.request_id == root]
        if ends:
            window.end = None if None in ends else max(end for end in ends if end is not None) + SETTLES_WITHIN
    return found


def _cause_of(hop: Hop, changes: list[Hop], ids: set[str], windows: dict[str, _Window]) -> str:
    """Which of these hops an agent's work was done for: the last change of its resource, if the operation was still
    under way, else the operation that had to do with it at that time. Empty: none of them."""
    before = [one for one in changes if one.resource_id == hop.resource_id and one.at <= hop.at]
    last = max(before, key=lambda one: one.at, default=None)
    if last is not None and last.id not in ids and hop.at - last.at <= FOLLOWS_WITHIN:
        return ""
    under_way = [root for root, window in windows.items() if window.has(hop.at) and hop.resource_id in window.resources]
    if not under_way:
        return ""
    newest = max(under_way, key=lambda root: windows[root].start)
    return last.id if last is not None and last.id in ids and last.at >= windows[newest].start else newest


def _arranged(hops: list[Hop], flows: list[FlowSummary]) -> Operation:
    by_id = {hop.id: hop for hop in hops}
    above = {_key(hop): _chain(hop, by_id) for hop in hops}
    after: dict[tuple[Any, ...], datetime] = {}
    for hop in sorted(hops, key=lambda one: len(above[_key(one)])):
        after[_key(hop)] = _not_before(hop, by_id.get(hop.cause), after)
    ordered = sorted(hops, key=lambda one: (after[_key(one)], len(above[_key(one)]), one.duration_ms is None))
    chains = [above[_key(hop)] for hop in ordered]
    return Operation(
        hops=tuple(msgspec.structs.replace(hop, at=after[_key(hop)]) for hop in ordered), flows=tuple(flows),
        depths=tuple(len(chain) for chain in chains),
        roots=tuple(chain[-1] if chain else hop.id for hop, chain in zip(ordered, chains, strict=True)),
    )


def _not_before(hop: Hop, cause: Hop | None, after: dict[tuple[Any, ...], datetime]) -> datetime:
    """When a hop began, but not before its cause: journals count whole milliseconds."""
    began = hop.at if cause is None else after.get(_key(cause), cause.at)
    return began if timedelta(0) < began - hop.at <= ROUNDING else hop.at


def _chain(hop: Hop, by_id: dict[str, Hop]) -> list[str]:
    """The ids above a hop, nearest first. What is above may not be over, and so not be known: the topmost is the
    request, then."""
    chain: list[str] = []
    while hop.cause and hop.cause not in chain and hop.cause != hop.id and len(chain) < MAX_DEPTH:
        chain.append(hop.cause)
        if (above := by_id.get(hop.cause)) is None:
            began_it = hop.request_id if hop.kind != "http" else ""
            return chain if not began_it or began_it in (*chain, hop.id) else [*chain, began_it]
        hop = above
    return chain


def ended_at(operation: Operation) -> datetime | None:
    """When the last thing of it ended."""
    ends = [hop.at + timedelta(milliseconds=hop.duration_ms or 0) for hop in operation.hops]
    return max(ends, default=None)
