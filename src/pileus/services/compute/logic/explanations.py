"""Why a server was refused, failed, or is not running: one sentence for operators, from what was written down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from pileus.kernel.flows.tables import Fault, FlowSummary
from pileus.kernel.observe.hops import Hop, HopFault

NOTHING_FAILED = "nothing failed"

DOING = {
    "create_server": "being created", "delete_server": "being deleted", "start_server": "being started",
    "stop_server": "being stopped", "reboot_server": "being rebooted",
}
WORDS = {
    "create_server": "creating it", "delete_server": "deleting it", "start_server": "starting it",
    "stop_server": "stopping it", "reboot_server": "rebooting it",
}

_HOST_FAULT = re.compile(r"(?P<host>[^:\s]+): (?:(?P<code>[a-z_]+): ?)?(?P<detail>.*)", re.DOTALL)
_HOST_FAULTS = {
    "no_space": "Host {host} has no disk space left",
    "image_unavailable": "Host {host} could not get the image",
    "image_unsafe": "Host {host} refused the image as unsafe",
    "image_too_big": "The image does not fit the flavor's disk",
    "network_plug_failed": "The network was not ready on host {host}",
    "driver_failed": "The hypervisor of host {host} failed",
    "driver_timeout": "The hypervisor of host {host} did not answer in time",
    "boot_silent": "The guest did not boot on host {host}",
    "stale_generation": "A newer request for the server came first on host {host}",
}
_IMAGE_ERRORS = frozenset({
    "UnknownImage", "ImageNotActive", "ImageUnusable", "ImageOverFlavorDisk", "MinDiskOverFlavorDisk",
    "FlavorMemoryTooSmall",
})
_NETWORK_ERRORS = frozenset({
    "UnknownNetwork", "NetworkNotUsable", "AmbiguousNetwork", "PortNotFound", "PortInUse", "UnknownSecurityGroup",
})


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A server as its row has it. ports: of its network cards."""

    id: str
    status: str
    host: str | None
    ports: tuple[str, ...] = ()
    deleted_at: datetime | None = None
    last_fault: str = ""
    last_fault_detail: str = ""


# -- servers ---------------------------------------------------------------------------------------------------------


def of_server(
    server: ServerFacts, flows: Sequence[FlowSummary], hops: Sequence[Hop], step: str, now: datetime
) -> str:
    """The answer for a server. flows: its own, in order. hops: of its operations, in order. step: where its active flow
    is, if there is one."""
    active = [flow for flow in flows if flow.ended_at is None and not flow.settled]
    if active:
        return of_waiting(server, active[0], hops, step, now)
    ended = [flow for flow in flows if not (flow.fault is not None and flow.fault.cancelled)]
    last = ended[-1] if ended else None
    if server.deleted_at is not None:
        return _of_deleted(server, flows)
    if last is not None and last.fault is not None:
        reason = of_fault(last.fault, last, hops)
        return reason if server.status == "ERROR" else f"It is {server.status}, but {_word(last)} failed: {reason}"
    if server.status == "ERROR":
        return _of_error(server, hops)
    if server.status == "SHUTOFF":
        return _of_stopped(server, last, hops)
    return f"It is {server.status}; {NOTHING_FAILED}."


def of_waiting(
    server: ServerFacts, flow: FlowSummary, hops: Sequence[Hop], step: str, now: datetime
) -> str:
    """What the flow under way waits for."""
    doing = f"It is {DOING.get(flow.name, 'being worked on')}"
    if flow.state == "undoing" and flow.fault is not None:
        return f"{doing}, which failed and is being undone (step {step}): {of_fault(flow.fault, flow, hops)}"
    if flow.claimed_at is None:
        return f"{doing}, and has waited {_seconds(now - flow.created_at)} for a compute conductor."
    if flow.lease_until is None:
        return f"{doing}: step {step} is tried again at {_time(flow.next_run_at)}{_last_retry(flow, hops)}"
    if flow.lease_until < now:
        return f"{doing}: the conductor {flow.lease_owner} stopped at step {step}; the next one to look takes over."
    began = max((hop.at for hop in hops if hop.kind == "flow" and hop.outcome == "running"), default=flow.claimed_at)
    since = _seconds(now - began)
    return f"{doing}: step {step} has run for {since}{_awaited(server, hops, step)}{_last_retry(flow, hops)}"


def _awaited(server: ServerFacts, hops: Sequence[Hop], step: str) -> str:
    if step == "wire":
        wired = {hop.resource_id for hop in hops if hop.name == "port ACTIVE"}
        missing = [port for port in server.ports if port not in wired]
        named = ", ".join(missing or server.ports)
        return f", waiting for the network agent of host {server.host} to wire port {named}"
    if step in ("prepare", "start", "destroy", "stop", "reboot") and server.host:
        done = next((hop.name for hop in reversed(hops) if hop.role == "compute-agent" and hop.kind == "agent"), "")
        return f", waiting for the compute agent of host {server.host}{f' (last done: {done})' if done else ''}"
    return ""


def _last_retry(flow: FlowSummary, hops: Sequence[Hop]) -> str:
    failures = [hop.fault for hop in hops if hop.kind == "flow" and hop.outcome == "retry" and hop.fault is not None]
    if not flow.attempt or not failures:
        return "."
    return f"; attempt {flow.attempt + 1}, because: {_sentence(failures[-1].text)}"


def _of_deleted(server: ServerFacts, flows: Sequence[FlowSummary]) -> str:
    deleted = next((flow for flow in reversed(flows) if flow.name == "delete_server"), None)
    by = f" by request {deleted.request_id}" if deleted is not None else ""
    at = _time(server.deleted_at) if server.deleted_at is not None else ""
    return f"It was deleted{by} at {at}; {NOTHING_FAILED} in that."


def _of_error(server: ServerFacts, hops: Sequence[Hop]) -> str:
    resets = [hop for hop in hops if hop.kind == "http" and hop.name.endswith("os-resetState") and not hop.failed]
    if resets and not server.last_fault:
        return f"An administrator set it to ERROR, by request {resets[-1].request_id}."
    if server.last_fault:
        detail = f" ({server.last_fault_detail})" if server.last_fault_detail else ""
        return f"Its guest failed on host {server.host}: {server.last_fault}{detail}"
    return "It is in ERROR, and nothing of what led there is written down any more."


def _of_stopped(server: ServerFacts, last: FlowSummary | None, hops: Sequence[Hop]) -> str:
    stopped = [hop for hop in hops if hop.kind == "bus" and hop.name == "GuestEvent"]
    if last is not None and last.name == "stop_server" and not stopped:
        return f"It is SHUTOFF because request {last.request_id} stopped it; {NOTHING_FAILED}."
    return f"It is SHUTOFF: its guest ended by itself on host {server.host}; no request stopped it."


# -- faults of flows -------------------------------------------------------------------------------------------------


def of_fault(fault: Fault, flow: FlowSummary, hops: Sequence[Hop]) -> str:
    """Why a flow failed."""
    if fault.cancelled:
        return f"It was cancelled at step {fault.step or 'unknown'}: a newer request came first."
    if fault.type == "NoValidHost":
        return _sentence(fault.detail or fault.text)
    if fault.type == "DeadlineExceeded":
        limit_s = (flow.deadline_at - flow.created_at).total_seconds()
        return f"The conductor gave up {_word(flow)} after its deadline of {limit_s:g} s{_at(fault, hops, flow)}."
    by_host = _host_fault(fault)
    if by_host is not None:
        return by_host
    refused = _deepest_failure(hops, flow.request_id)
    if refused is not None and refused.fault is not None and _quoted(refused.fault.text, fault.text):
        return _of_sibling(refused, refused.fault)
    detail = f" ({fault.detail})" if fault.detail else ""
    return f"Step {fault.step or 'unknown'} failed: {_sentence(fault.text + detail)}"


def _host_fault(fault: Fault) -> str | None:
    if fault.type not in ("BuildFailed", "GuestOperationFailed", "HostUnreachable"):
        return None
    found = _HOST_FAULT.fullmatch(fault.detail)
    text = fault.text.partition("aborted: ")[2] or fault.text
    if found is None:
        return f"The compute host failed: {_sentence(text)}"
    code, host, detail = found["code"] or "", found["host"], found["detail"].strip()
    words = _HOST_FAULTS.get(code, "Host {host} does not answer" if fault.type == "HostUnreachable" else "")
    first = (words or "Host {host} failed").format(host=host)
    return f"{first}: {_sentence(text)}{f' ({detail})' if detail and detail not in text else ''}"


def _deepest_failure(hops: Sequence[Hop], request_id: str) -> Hop | None:
    """The last sibling's request that failed on behalf of a request."""
    failed = [hop for hop in hops if hop.kind == "http" and hop.failed and hop.request_id != request_id]
    return failed[-1] if failed else None


def _at(fault: Fault, hops: Sequence[Hop], flow: FlowSummary) -> str:
    step = fault.step or next((hop.name.partition(": ")[2] for hop in reversed(hops)
                               if hop.kind == "flow" and hop.id.startswith(flow.id) and hop.failed), "")
    return f", at step {step}" if step else ""


# -- refused requests ------------------------------------------------------------------------------------------------


def of_refusal(hop: Hop, hops: Sequence[Hop]) -> str:
    """Why a request was refused."""
    fault = hop.fault
    if fault is None:
        return f"The request {hop.name} was answered {hop.outcome}; {NOTHING_FAILED}."
    sibling = _deepest_failure(hops, hop.request_id)
    said = f"{fault.text} {fault.detail}"
    if sibling is not None and sibling.fault is not None and _quoted(sibling.fault.text, said):
        return _of_sibling(sibling, sibling.fault)
    return of_hop_fault(fault)


def of_hop_fault(fault: HopFault) -> str:
    """The reason in words, by the kind of error."""
    detail = f" ({fault.detail})" if fault.detail else ""
    if fault.type in ("QuotaExceeded", "OverQuota"):
        return f"Quota {_sentence(fault.detail)}" if fault.detail else _sentence(fault.text)
    if fault.type in _IMAGE_ERRORS:
        return f"The image cannot be used: {_sentence(fault.text + detail)}"
    if fault.type in _NETWORK_ERRORS:
        return f"The network or port cannot be used: {_sentence(fault.text + detail)}"
    if fault.type == "Unauthorized":
        return "The token was missing, wrong or expired."
    if fault.type == "Forbidden":
        return f"Policy refused it: {_sentence(fault.text)}"
    if fault.type == "ServiceError":
        return f"The service failed unexpectedly ({fault.detail or 'unknown error'}); its log has the traceback."
    return f"{fault.code}: {_sentence(fault.text + detail)}"


def _of_sibling(hop: Hop, fault: HopFault) -> str:
    service = hop.role.removesuffix("-api")
    return f"The {service} service refused {hop.name}: {of_hop_fault(fault)}"


# -- words -----------------------------------------------------------------------------------------------------------


def _word(flow: FlowSummary) -> str:
    return WORDS.get(flow.name, flow.name)


def _quoted(part: str, whole: str) -> bool:
    return bool(part) and part.strip().rstrip(".") in whole


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else text + "."


def _seconds(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _time(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="seconds")[:19] + " UTC"
