"""Each kind of fault has its own sentence, with the host, the reason and what operators need to know of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pileus.kernel.flows.tables import Fault, FlowSummary
from pileus.kernel.observe.hops import Hop, HopFault
from pileus.services.compute.logic import explanations
from pileus.services.compute.logic.explanations import ServerFacts

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BUILD = "Build of instance s1 aborted: "


def a_flow(fault: Fault | None = None, **values: Any) -> FlowSummary:
    usual: dict[str, Any] = {
        "id": "f1", "name": "create_server", "version": 1, "resource_id": "s1", "request_id": "req-1",
        "global_request_id": None, "state": "failed" if fault else "done", "step": 2, "attempt": 0, "cancel": False,
        "settled": False, "fault": fault, "created_at": NOW - timedelta(hours=2),
        "claimed_at": NOW - timedelta(hours=2), "next_run_at": NOW, "deadline_at": NOW,
        "ended_at": NOW, "lease_owner": None, "lease_until": None, "lease_no": 1,
    }
    return FlowSummary(**usual | values)


def a_server(**values: Any) -> ServerFacts:
    usual: dict[str, Any] = {"id": "s1", "status": "ERROR", "host": "h1", "ports": ("p1", "p2")}
    return ServerFacts(**usual | values)


def a_hop(**values: Any) -> Hop:
    usual: dict[str, Any] = {"id": "x", "at": NOW, "host": "h1", "role": "network-l2", "kind": "agent", "name": "n"}
    return Hop(**usual | values)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault(500, "NoValidHost", "No valid host was found.", "choose_host", "No host had room: 2 hosts: ram …"),
         "No host had room: 2 hosts: ram …."),
        (Fault(500, "BuildFailed", BUILD + "The host's disk is full.", "prepare", "h1: no_space: 12 MiB are free"),
         "Host h1 has no disk space left: The host's disk is full. (12 MiB are free)"),
        (Fault(500, "BuildFailed", BUILD + "The hypervisor did not answer in time.", "start",
               "h2: driver_timeout: define"),
         "The hypervisor of host h2 did not answer in time: The hypervisor did not answer in time. (define)"),
        (Fault(500, "BuildFailed", BUILD + "The image could not be had.", "prepare", "h1: image_unavailable: 404"),
         "Host h1 could not get the image: The image could not be had. (404)"),
        (Fault(500, "BuildFailed", BUILD + "Virtual Interface creation failed", "wire",
               "h1: network_plug_failed: ports not wired in 120 s: p1"),
         "The network was not ready on host h1: Virtual Interface creation failed. (ports not wired in 120 s: p1)"),
        (Fault(503, "HostUnreachable", "The compute host of this server does not answer at the moment.", "stop",
               "h3: No compute-agent@h3 is running."),
         "Host h3 does not answer: The compute host of this server does not answer at the moment. "
         "(No compute-agent@h3 is running.)"),
        (Fault(500, "GuestOperationFailed", "The hypervisor could not do it.", "reboot",
               "h1: driver_failed: libvirt: no"),
         "The hypervisor of host h1 failed: The hypervisor could not do it. (libvirt: no)"),
        (Fault(504, "DeadlineExceeded", "The operation took too long.", "wire"),
         "The conductor gave up creating it after its deadline of 7200 s, at step wire."),
        (Fault(504, "Timeout", "step release_host took more than 60 s", "release_host"),
         "Step release_host failed: step release_host took more than 60 s."),
        (Fault(500, "InternalError", "An unexpected error stopped the operation.", "wire", "KeyError('x')"),
         "Step wire failed: An unexpected error stopped the operation. (KeyError('x'))."),
    ],
)
def test_a_failed_flow(fault: Fault, sentence: str) -> None:
    flow = a_flow(fault)
    assert explanations.of_server(a_server(), [flow], [], "", NOW) == sentence


def test_a_flow_that_was_cancelled_is_not_the_reason() -> None:
    cancelled = a_flow(Fault(409, "Cancelled", "The operation was cancelled.", "wire", cancelled=True))
    assert explanations.of_fault(cancelled.fault or Fault(0, "", ""), cancelled, []) == (
        "It was cancelled at step wire: a newer request came first."
    )
    deleted = a_flow(id="f2", name="delete_server", request_id="req-2")
    gone = a_server(status="DELETED", deleted_at=NOW)
    assert explanations.of_server(gone, [cancelled, deleted], [], "", NOW).startswith("It was deleted by request req-2")


@pytest.mark.parametrize(
    ("values", "step", "sentence"),
    [
        ({"claimed_at": None, "created_at": NOW - timedelta(seconds=40)}, "choose_host",
         "It is being created, and has waited 40 s for a compute conductor."),
        ({"attempt": 2, "next_run_at": NOW}, "choose_host",
         "It is being created: step choose_host is tried again at 2026-01-01 12:00:00 UTC; attempt 3, because: "
         "not yet."),
        ({"lease_owner": "h9:compute-conductor", "lease_until": NOW - timedelta(seconds=1)}, "wire",
         "It is being created: the conductor h9:compute-conductor stopped at step wire; the next one to look takes "
         "over."),
        ({"lease_owner": "h9", "lease_until": NOW + timedelta(seconds=9)}, "wire",
         "It is being created: step wire has run for 5.0 s, waiting for the network agent of host h1 to wire port p2."),
        ({"lease_owner": "h9", "lease_until": NOW + timedelta(seconds=9)}, "prepare",
         "It is being created: step prepare has run for 5.0 s, waiting for the compute agent of host h1 "
         "(last done: image)."),
    ],
)
def test_a_flow_under_way(values: dict[str, Any], step: str, sentence: str) -> None:
    flow = a_flow(**{"state": "running", "ended_at": None} | values)
    hops = [
        a_hop(name="port ACTIVE", resource_id="p1"), a_hop(role="compute-agent", name="image"),
        a_hop(kind="flow", outcome="retry", fault=HopFault(503, "retry", "not yet")),
        a_hop(kind="flow", outcome="running", at=NOW - timedelta(seconds=5), duration_ms=None),
    ]
    assert explanations.of_server(a_server(status="BUILD"), [flow], hops, step, NOW) == sentence


def test_a_guest_that_failed_by_itself() -> None:
    server = a_server(last_fault="The guest did not boot.", last_fault_detail="console: silent")
    assert explanations.of_server(server, [a_flow()], [], "", NOW) == (
        "Its guest failed on host h1: The guest did not boot. (console: silent)"
    )


def test_nothing_is_made_up_when_nothing_is_known() -> None:
    assert "is written down any more" in explanations.of_server(a_server(), [], [], "", NOW)
    assert explanations.of_server(a_server(status="ACTIVE"), [], [], "", NOW) == "It is ACTIVE; nothing failed."
