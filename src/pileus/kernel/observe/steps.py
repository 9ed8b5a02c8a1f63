"""The steps of flows as hops: read from the journals, which have them for good; and the step that runs now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from pileus.kernel.db import Database, Tx
from pileus.kernel.flows import Flow, FlowStore
from pileus.kernel.flows.tables import ACTIVE_STATES, RUNNING, FlowSummary
from pileus.kernel.observe.hops import Hop, HopFault, clean, step_id

NOTABLE_QUEUE_S = 0.05
MAX_SHOWN_CHARS = 120
FAILURES = frozenset({"failed", "retry", "undo retry", "settled"})
UNDONE = frozenset({"undone", "undo retry", "settled"})
END = "end"


class Journal(msgspec.Struct, frozen=True):
    """The flows of one service, and where they are kept."""

    service: str
    store: FlowStore
    flows: tuple[Flow, ...]
    database: Database

    def of_request(self, tx: Tx, request_id: str) -> tuple[list[FlowSummary], list[Hop]]:
        """Flows that a request started (it may be the global one), and their steps."""
        flows = self.store.of_request(tx, request_id)
        return flows, self._steps(flows, self.store.lines_of_request(tx, request_id))

    def of_resource(self, tx: Tx, resource_id: str) -> tuple[list[FlowSummary], list[Hop]]:
        """All remembered flows of a resource, and their steps."""
        flows = self.store.of_resource(tx, resource_id)
        return flows, self._steps(flows, self.store.lines(tx, resource_id))

    def step_name(self, flow: FlowSummary) -> str:
        """The step that an active flow is at, or that it will be at when it goes on."""
        known = next((kind for kind in self.flows if (kind.name, kind.version) == (flow.name, flow.version)), None)
        return "" if known is None else known.steps[max(0, min(flow.step, len(known.steps) - 1))].name

    def _steps(self, flows: Iterable[FlowSummary], lines: Iterable[Any]) -> list[Hop]:
        by_flow: dict[str, list[Any]] = {}
        for line in lines:
            by_flow.setdefault(line.flow_id, []).append(line)
        return [hop for flow in flows for hop in self._of_flow(flow, by_flow.get(flow.id, []))]

    def _of_flow(self, flow: FlowSummary, lines: list[Any]) -> list[Hop]:
        found, free_at = [], flow.created_at
        for line in lines:
            began = line.at - timedelta(milliseconds=line.duration_ms)
            if line.step != END:
                found.append(self._passed(flow, line, began, _queued(flow, line.attempt, free_at, began)))
            elif flow.fault is not None:
                found.append(self._end(flow, line))
            free_at = line.at
        if flow.state in ACTIVE_STATES:
            found.append(self._now(flow, free_at))
        return found

    def _passed(self, flow: FlowSummary, line: Any, began: datetime, waited_for: str) -> Hop:
        fault = None
        if line.event in FAILURES or line.event == "cancelled":
            detail = flow.fault.detail if flow.fault is not None and line.event == "failed" else ""
            fault = HopFault(flow.fault.code if flow.fault else 500, line.event, line.detail, detail)
        undo = "undo " if line.event in UNDONE else ""
        said = f" ({clean(line.detail, MAX_SHOWN_CHARS)})" if line.detail and fault is None else ""
        return self._hop(
            flow, line.step, at=began, host=line.host, name=f"{flow.name}: {undo}{line.step}{said}",
            duration_ms=float(line.duration_ms), waited_for=waited_for, attempt=line.attempt, outcome=line.event,
            fault=fault,
        )

    def _end(self, flow: FlowSummary, line: Any) -> Hop:
        assert flow.fault is not None
        fault = HopFault(flow.fault.code, flow.fault.type, flow.fault.text, flow.fault.detail)
        return self._hop(
            flow, END, at=line.at, host=line.host, name=f"{flow.name}: end", duration_ms=0.0, outcome=flow.state,
            fault=fault,
        )

    def _now(self, flow: FlowSummary, free_at: datetime) -> Hop:
        step, undo = self.step_name(flow), "" if flow.state == RUNNING else "undo "
        leased = flow.lease_until is not None
        waits = "" if leased else "its turn" if flow.claimed_at is None else "its next attempt"
        return self._hop(
            flow, step, at=free_at, host=(flow.lease_owner or "").partition(":")[0] if leased else "",
            name=f"{flow.name}: {undo}{step}", duration_ms=None, waited_for=waits, attempt=flow.attempt,
            outcome="running" if leased else "waiting",
        )

    def _hop(self, flow: FlowSummary, step: str, **values: Any) -> Hop:
        return Hop(
            id=step_id(flow.id, step), role=f"{self.service}-conductor", kind="flow", request_id=flow.request_id,
            global_request_id=flow.global_request_id or "", cause=flow.request_id, resource_id=flow.resource_id,
            **values,
        )


def _queued(flow: FlowSummary, attempt: int, free_at: datetime, began: datetime) -> str:
    """What a step that began later than it could have waited for."""
    waited_s = (began - free_at).total_seconds()
    if waited_s < NOTABLE_QUEUE_S or (not attempt and free_at != flow.created_at):
        return ""
    return f"{'its next attempt' if attempt else 'a conductor'} {waited_s * 1000:.0f} ms"
