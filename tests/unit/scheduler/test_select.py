"""Promises of the choice itself, for any request and any hosts."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from pileus.services.compute.scheduler import HostState, SchedulingRequest, filters, select

from .facts import clouds, host, request, requests

Hosts = tuple[HostState, ...]
many = settings(max_examples=80, deadline=None)


def _one(wanted: SchedulingRequest) -> SchedulingRequest:
    return msgspec.structs.replace(wanted, count=1)


@given(requests, clouds)
@many
def test_every_host_that_is_offered_passes_every_filter(wanted: SchedulingRequest, hosts: Hosts) -> None:
    known = {one.name: one for one in hosts}
    decision = select(_one(wanted), hosts)
    for item in decision.ranked:
        assert [f.name for f in filters.enabled(()) if f.judge(wanted, known[item.host]) is not None] == []
    refused = sum(report.hosts for report in decision.refusals)
    assert refused + len(decision.ranked) == len(hosts) == decision.considered


@given(requests, clouds)
@many
def test_hosts_are_in_order_of_weight_and_the_first_is_chosen(wanted: SchedulingRequest, hosts: Hosts) -> None:
    decision = select(_one(wanted), hosts)
    weights = [item.weight for item in decision.ranked]
    assert weights == sorted(weights, reverse=True)
    assert decision.chosen == (decision.ranked[0].host if decision.ranked else None)
    assert decision.chosen not in decision.alternatives


@given(requests, clouds, st.randoms())
@many
def test_a_host_that_is_not_chosen_does_not_sway_the_choice(wanted: SchedulingRequest, hosts: Hosts, random) -> None:
    decision = select(wanted, hosts)
    if not decision.assignments:
        return
    others = [one for one in hosts if one.name not in decision.assignments and random.random() < 0.5]
    left = [one for one in hosts if one not in others]
    random.shuffle(left)
    assert select(wanted, left).assignments == decision.assignments


@given(requests, clouds)
@many
def test_several_servers_never_take_more_than_there_is(wanted: SchedulingRequest, hosts: Hosts) -> None:
    decision = select(wanted, hosts)
    assert len(decision.assignments) in (0, wanted.count)
    for one in hosts:
        times = decision.assignments.count(one.name)
        for name, amount in wanted.needs().items():
            assert times == 0 or one.capacity[name].used + times * amount <= one.capacity[name].capacity


def test_the_seed_spreads_equal_hosts_and_repeats_itself() -> None:
    hosts = [host(f"host{number}") for number in range(4)]
    chosen = [select(request(seed=f"server-{number}"), hosts).chosen for number in range(60)]
    assert set(chosen) == {one.name for one in hosts}
    assert chosen == [select(request(seed=f"server-{number}"), hosts).chosen for number in range(60)]


def test_many_servers_spread_over_the_hosts() -> None:
    hosts = [host(f"host{number}", vcpus=4) for number in range(4)]
    decision = select(request(count=8), hosts)
    assert sorted(decision.assignments.count(one.name) for one in hosts) == [2, 2, 2, 2]


def test_a_reason_is_given_per_filter_with_what_is_missing() -> None:
    hosts = [host("a", ram_mib=512), host("b", ram_mib=1_024), host("c", ram_mib=256), host("d", up=False)]
    decision = select(request(ram_mib=1_536), hosts)
    assert decision.chosen is None
    assert decision.explain() == (
        "No host had room: 4 hosts: compute turned down 1 (its compute service is down), "
        "ram turned down 3 (needs 1536 MiB, most free 1024 MiB on b)"
    )
    assert decision.user_text == "No valid host was found. There are not enough hosts available."
    assert select(request(), []).explain() == "There are no compute hosts."


def test_the_server_that_found_no_host_is_named() -> None:
    decision = select(request(count=3, vcpus=3), [host("a"), host("b", vcpus=2)])
    assert (decision.assignments, decision.placed) == ((), 2)
    assert decision.explain() == (
        "No host had room for server 3: 2 hosts: core turned down 2 (needs 3 vCPUs, most free 2 vCPUs on a)"
    )


def test_a_forced_host_is_not_filtered() -> None:
    hosts = [host("a", up=False), host("b")]
    assert select(request(force_hosts=("a",)), hosts).chosen == "a"
    assert select(request(force_hosts=("nowhere",)), hosts).chosen is None
    assert select(request(requested_host="a"), hosts).chosen is None
    assert select(request(requested_host="b.cloud"), hosts).chosen == "b"
