"""`pileus why`: the reason in the first line, then the evidence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from pileus.cli import records
from pileus.cli.layout import Layout
from pileus.kernel import context
from pileus.kernel.db import Database
from pileus.kernel.flows.tables import FlowSummary
from pileus.kernel.observe.hops import Hop
from pileus.kernel.observe.logs import escaped
from pileus.kernel.observe.operation import Operation, Traces
from pileus.services.compute.db import faults, servers
from pileus.services.compute.db.servers import Server
from pileus.services.compute.logic import explanations
from pileus.services.compute.logic.explanations import ServerFacts

MAX_FLOWS = 5
MAX_FAILURES = 8


def why(layout: Layout, target: str) -> int:
    """Print the answer. 1 when nothing is known of it."""
    with records.opened(layout) as (traces, databases):
        lines = explain(traces, databases.get("compute"), target)
    if not lines:
        print(f"pileus: nothing is known of {escaped(target[:80])}: it is no server or request of this cloud, or it "
              "was too long ago", file=sys.stderr)
        return 1
    for line in lines:
        print(escaped(line))
    return 0


def explain(traces: Traces, compute: Database | None, target: str) -> list[str]:
    """The answer and its evidence; empty when nothing is known."""
    operation = traces.find(target)
    server = _server(compute, target)
    if server is not None and compute is not None:
        return _of_server(traces, compute, server, operation)
    if operation is None:
        return []
    return _of_request(traces, compute, target, operation)


def _server(compute: Database | None, target: str) -> Server | None:
    if compute is None or context.is_request_id(target):
        return None
    return compute.run(servers.get, target, deleted=True)


def _of_server(traces: Traces, compute: Database, server: Server, operation: Operation | None) -> list[str]:
    fault = compute.run(faults.latest, [server.id]).get(server.id)
    facts = ServerFacts(
        id=server.id, status=server.status, host=server.host, deleted_at=server.deleted_at,
        ports=tuple(vif.port_id for vif in server.network_info),
        last_fault=fault.message if fault is not None else "",
        last_fault_detail=fault.details if fault is not None else "",
    )
    flows = operation.flows if operation is not None else ()
    hops = operation.hops if operation is not None else ()
    active = next((flow for flow in flows if flow.ended_at is None and not flow.settled), None)
    step = traces.step_name(active) if active is not None else ""
    lines = [explanations.of_server(facts, flows, hops, step, datetime.now(UTC))]
    lines.append(
        f"  server    {server.name!r}: {server.status}, task {server.task_state or 'none'}, "
        f"host {server.host or 'none'}, project {server.project_id}, flavor {server.flavor.name}, "
        f"image {server.image_id or 'none'}"
    )
    if fault is not None:
        lines.append(f"  user read {fault.code}: {fault.message}")
    return [*lines, *_flow_lines(flows), *_failure_lines(hops), f"  more      pileus trace {server.id}"]


def _of_request(traces: Traces, compute: Database | None, target: str, operation: Operation) -> list[str]:
    of_servers = [found for flow in operation.flows if (found := _server(compute, flow.resource_id)) is not None]
    if compute is not None and len({server.id for server in of_servers}) == 1:
        return _of_server(traces, compute, of_servers[0], traces.find(of_servers[0].id))
    own = [hop for hop in operation.hops if target in (hop.request_id, hop.global_request_id, hop.resource_id)]
    http = [hop for hop in own if hop.kind == "http"] or [hop for hop in operation.hops if hop.kind == "http"]
    failed = [flow for flow in operation.flows if flow.fault is not None]
    if failed and failed[0].fault is not None:
        ended = f"{len(failed)} of {len(operation.flows)} failed: "
        lines = [ended + explanations.of_fault(failed[0].fault, failed[0], operation.hops)]
    elif http:
        begun_all = [hop for hop in http if hop.failed and not hop.cause] or [hop for hop in http if hop.failed] or http
        lines = [explanations.of_refusal(begun_all[-1], operation.hops)]
    else:
        lines = [f"Nothing failed; {len(operation.hops)} hops are known."]
    more = f"  more      pileus trace {target}"
    return [*lines, *_flow_lines(operation.flows), *_failure_lines(operation.hops), more]


def _flow_lines(flows: Sequence[FlowSummary]) -> list[str]:
    lines = []
    for flow in flows[-MAX_FLOWS:]:
        ended = f"ended {_time(flow.ended_at)}" if flow.ended_at is not None else "not ended"
        begun = _time(flow.created_at)
        lines.append(f"  operation {flow.name} {flow.state}, begun {begun}, {ended}, {flow.request_id}")
        if flow.fault is not None:
            detail = f" ({flow.fault.detail})" if flow.fault.detail else ""
            lines.append(f"            step {flow.fault.step or '-'}: {flow.fault.type}: {flow.fault.text}{detail}")
    return lines


def _failure_lines(hops: Sequence[Hop]) -> list[str]:
    lines = []
    for hop in [hop for hop in hops if hop.failed][-MAX_FAILURES:]:
        assert hop.fault is not None
        detail = f" ({hop.fault.detail})" if hop.fault.detail else ""
        lines.append(
            f"  failed    {_time(hop.at)} {hop.role} on {hop.host or '-'}: {hop.name}: {hop.outcome}: "
            f"{hop.fault.text}{detail}"
        )
    return lines


def _time(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="milliseconds")[:23]
