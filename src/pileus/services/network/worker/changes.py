"""What changed on this host in one round of an agent, as hops for traces.

A round makes the whole host agree with what is wanted, for many requests at once: its hops name what changed, and the
trace finds the request that wanted it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from pileus.kernel.context import Context
from pileus.kernel.observe import hops
from pileus.kernel.observe.hops import HopFault
from pileus.services.network.rpc import DhcpReport, PortReport, RouterReport

NOBODY = Context()


class Change(msgspec.Struct, frozen=True):
    """One thing that is different now. reason: why it failed; empty when it did not."""

    what: str
    resource_id: str
    reason: str = ""


def record(agent_type: str, began: float, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Record the differences between two rounds' reports. began: `time.perf_counter()` of the round's work."""
    if hops.sink() is None:
        return
    for key, report in after.items():
        if (old := before.get(key)) == report:
            continue
        for change in _changes(old, report):
            hops.record(
                role=f"network-{agent_type}", kind="agent", name=change.what, began=began, context=NOBODY,
                resource_id=change.resource_id, outcome="failed" if change.reason else "done",
                fault=HopFault(500, "NotConverged", change.reason) if change.reason else None,
            )


def _changes(old: Any, report: Any) -> Iterator[Change]:
    match report:
        case PortReport():
            if old is not None or report.status != "DOWN":  # not there yet is nothing new
                yield Change(f"port {report.status}", report.port_id, _reason(report))
        case RouterReport():
            if old is None or old.status != report.status:
                yield Change(f"router {report.status}", report.router_id, _reason(report))
            for floating_ip in _new(old, report, "floating_ips"):
                yield Change("floating IP leads to its port", floating_ip)
        case DhcpReport():
            if old is None or old.status != report.status:
                yield Change(f"DHCP {report.status}", report.network_id, _reason(report))
            for port_id in _new(old, report, "port_ids"):
                yield Change("lease ready", port_id)


def _reason(report: Any) -> str:
    return (report.reason or "It did not say why.") if report.status == "ERROR" else ""


def _new(old: Any, report: Any, field: str) -> list[str]:
    known = set(getattr(old, field)) if old is not None else set()
    return [one for one in getattr(report, field) if one not in known]
