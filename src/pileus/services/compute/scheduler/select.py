"""Filter, weigh, choose."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import msgspec

from pileus.services.compute.scheduler import filters, weighers
from pileus.services.compute.scheduler.config import SchedulerConfig
from pileus.services.compute.scheduler.decision import Decision, FilterReport, Ranked, Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest
from pileus.services.compute.scheduler.filters import Filter

DEFAULTS = SchedulerConfig()


def select(
    request: SchedulingRequest, hosts: Sequence[HostState], config: SchedulerConfig = DEFAULTS
) -> Decision:
    """Choose a host for each requested server. The same facts always give the same answer.

    A host's weight depends on that host and the request alone, so a host that is not chosen never sways the choice.
    """
    states = {host.name: host for host in hosts}
    assignments: list[str] = []
    first: tuple[tuple[Ranked, ...], tuple[FilterReport, ...]] | None = None
    for _ in range(request.count):
        ranked, reports = _rank(request, tuple(states.values()), config)
        first = first or (ranked, reports)
        if not ranked:
            return Decision(
                assignments=(), ranked=first[0], refusals=reports, considered=len(states), placed=len(assignments)
            )
        name = ranked[0].host
        assignments.append(name)
        states[name] = states[name].with_one_more(request.needs())
        request = _with_member(request, name)
    assert first is not None, "count is at least 1"
    return Decision(
        assignments=tuple(assignments), ranked=first[0], refusals=first[1], considered=len(states),
        placed=len(assignments),
    )


def _rank(
    request: SchedulingRequest, hosts: Sequence[HostState], config: SchedulerConfig
) -> tuple[tuple[Ranked, ...], tuple[FilterReport, ...]]:
    passed, reports = _filter(request, hosts, filters.enabled(config.enabled_filters))
    ranked = [_weigh(request, host, config) for host in passed]
    ranked.sort(key=lambda item: (-item.weight, _lot(request.seed, item.host)))
    return tuple(ranked), reports


def _filter(
    request: SchedulingRequest, hosts: Sequence[HostState], asked: Sequence[Filter]
) -> tuple[list[HostState], tuple[FilterReport, ...]]:
    left, reports = list(hosts), []
    for one in asked:
        if request.force_hosts and not one.always:
            continue
        refusals = [(host, refusal) for host in left if (refusal := one.judge(request, host)) is not None]
        if refusals:
            reports.append(_report(one.name, refusals))
            refused = {host.name for host, _ in refusals}
            left = [host for host in left if host.name not in refused]
        if not left:
            break
    return left, tuple(reports)


def _report(name: str, refusals: list[tuple[HostState, Refusal]]) -> FilterReport:
    counted = Counter(refusal.reason for _, refusal in refusals)
    reasons = tuple(sorted(counted.items(), key=lambda item: (-item[1], item[0])))
    measured = [
        (refusal.needs - refusal.free, host.name, refusal)
        for host, refusal in refusals
        if refusal.needs is not None and refusal.free is not None
    ]
    if len(measured) < len(refusals):
        return FilterReport(name, len(refusals), reasons)
    _, closest, least = min(measured, key=lambda item: item[:2])
    return FilterReport(name, len(refusals), reasons, closest, least.needs or 0, least.free or 0, least.unit)


def _weigh(request: SchedulingRequest, host: HostState, config: SchedulerConfig) -> Ranked:
    parts = {one.name: one.multiplier(config) * one.weigh(request, host) for one in weighers.ALL}
    return Ranked(host.name, sum(parts.values()), parts)


def _lot(seed: str, host: str) -> bytes:
    """Orders hosts of equal weight: differently per server, so that they spread, and the same on each try."""
    return hashlib.blake2b(f"{seed}\0{host}".encode(), digest_size=8).digest()


def _with_member(request: SchedulingRequest, host: str) -> SchedulingRequest:
    if request.group is None:
        return request
    members = dict(request.group.members_by_host)
    members[host] = members.get(host, 0) + 1
    return msgspec.structs.replace(request, group=msgspec.structs.replace(request.group, members_by_host=members))
