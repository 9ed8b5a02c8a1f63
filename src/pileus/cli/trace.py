"""`pileus trace`: what one operation did, hop by hop; while it runs, as it happens."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from pileus.cli import records
from pileus.cli.layout import Layout
from pileus.kernel.observe import operation
from pileus.kernel.observe.hops import Hop
from pileus.kernel.observe.logs import escaped
from pileus.kernel.observe.operation import Operation
from pileus.kernel.observe.recorder import FLUSH_S

POLL_S = 0.25
SETTLE_S = 3 * FLUSH_S
"""Hops arrive this much later than they happen, at most, unless the node is very busy."""
DEFAULT_TIMEOUT_S = 600.0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to show. follow: None goes on while the operation runs; True also waits for it to begin; False never."""

    target: str
    follow: bool | None = None
    as_json: bool = False
    timeout_s: float = DEFAULT_TIMEOUT_S


def trace(layout: Layout, wanted: Wanted) -> int:
    """Print the operation. 1 when nothing is known of it, or it still runs after the time given."""
    with records.opened(layout) as (traces, _databases):
        watch = _Watch(lambda: traces.find(wanted.target), wanted)
        shown = _Lines()
        for found, over in watch.changes():
            if not wanted.as_json:
                for line in shown.new(found, None if over else datetime.now(UTC) - timedelta(seconds=SETTLE_S)):
                    print(line, flush=True)
        if watch.last is None:
            print(f"pileus: nothing is known of {escaped(wanted.target[:80])}: it is no request, server or "
                  "other resource of this cloud, or it was too long ago", file=sys.stderr)
            return 1
        if wanted.as_json:
            print(msgspec.json.format(msgspec.json.encode(_as_json(watch.last)), indent=2).decode())
        else:
            print(_summary(watch.last))
        if watch.gave_up:
            print(f"pileus: it still runs after {wanted.timeout_s:g} s", file=sys.stderr)
            return 1
    return 0


class _Watch:
    """Looks again until nothing more will come."""

    def __init__(self, look: Callable[[], Operation | None], wanted: Wanted) -> None:
        self._look, self._wanted = look, wanted
        self.last: Operation | None = None
        self.gave_up = False

    def changes(self) -> Iterator[tuple[Operation, bool]]:
        """The operation, as often as it is worth looking, and whether this was the last look."""
        begun = time.monotonic()
        while True:
            self.last = self._look() or self.last
            waited_s = time.monotonic() - begun
            over = not self._goes_on(waited_s)
            if not over and waited_s > self._wanted.timeout_s:
                over, self.gave_up = True, self.last is not None and self.last.active
            if self.last is not None:
                yield self.last, over
            if over:
                return
            time.sleep(POLL_S)

    def _goes_on(self, waited_s: float) -> bool:
        if self._wanted.follow is False:
            return False
        if self.last is None:  # what began just now is not written down yet
            return bool(self._wanted.follow) or waited_s < SETTLE_S
        ended = operation.ended_at(self.last)
        recent = ended is not None and datetime.now(UTC) - ended < timedelta(seconds=SETTLE_S)
        return self.last.active or recent


class _Lines:
    """Hops as lines, each once; a heading for every request that began something."""

    def __init__(self) -> None:
        self._seen: set[tuple[Any, ...]] = set()
        self._starts: dict[str, datetime] = {}
        self._section = ""

    def new(self, found: Operation, until: datetime | None) -> list[str]:
        """Lines for what was not there before. until: what began later waits, so that the order stays right."""
        lines: list[str] = []
        longest = _longest_parts(found.hops)
        for hop, depth, root in zip(found.hops, found.depths, found.roots, strict=True):
            key = (hop.id, hop.at if hop.duration_ms is not None else None, hop.outcome, hop.attempt)
            if key in self._seen or (until is not None and hop.at > until):
                continue
            self._seen.add(key)
            start = self._starts.setdefault(root, hop.at)
            if root != self._section:
                self._section = root
                lines.append(_heading(root, start, hop))
            lines.append(_line(hop, depth, start, longest.get(hop.id, "")))
            if hop.fault is not None:
                lines += _fault_lines(hop, depth)
        return lines


def _heading(root: str, start: datetime, hop: Hop) -> str:
    known = root if root.startswith("req-") else hop.request_id
    given = f" (global {hop.global_request_id})" if hop.id == root and hop.global_request_id else ""
    return f"{start.isoformat(sep=' ', timespec='milliseconds')[:23]} UTC  {known or 'work of an agent'}{given}"


def _line(hop: Hop, depth: int, start: datetime, longest: str) -> str:
    offset_s = (hop.at - start).total_seconds()
    took = "running" if hop.duration_ms is None else f"{hop.duration_ms:.0f} ms"
    waited = ", ".join(part for part in (hop.waited_for, longest) if part)
    more = [
        f"  → {hop.outcome}" if hop.kind == "http" or hop.outcome not in ("done", "running") else "",
        f"  waited for {waited}" if waited else "",
        f"  attempt {hop.attempt + 1}" if hop.attempt else "",
    ]
    who = f"{hop.role:<18} {hop.host or '-':<12}"
    return f"{offset_s:+9.3f} {took:>9}  {who} {'  ' * depth}{escaped(hop.name)}{''.join(more)}"


def _fault_lines(hop: Hop, depth: int) -> list[str]:
    assert hop.fault is not None
    indent = " " * 54 + "  " * depth
    text = escaped(f"{hop.fault.type}: {hop.fault.text}".rstrip(": "))
    detail = escaped(hop.fault.detail)
    return [f"{indent}! {text}", *([f"{indent}  {detail}"] if detail else [])]


def _longest_parts(hops: tuple[Hop, ...]) -> dict[str, str]:
    """For hops that mostly waited for one of their parts: which."""
    durations = {hop.id: hop.duration_ms or 0.0 for hop in hops}
    longest: dict[str, Hop] = {}
    for hop in hops:
        known = longest.get(hop.cause)
        if hop.cause in durations and (known is None or (hop.duration_ms or 0.0) > (known.duration_ms or 0.0)):
            longest[hop.cause] = hop
    return {
        cause: f"{part.role} {part.duration_ms:.0f} ms"
        for cause, part in longest.items()
        if part.duration_ms is not None and durations[cause] * 0.5 < part.duration_ms <= durations[cause]
        and part.duration_ms >= 2.0
    }


def _summary(found: Operation) -> str:
    hosts, roles = {hop.host for hop in found.hops if hop.host}, {hop.role for hop in found.hops}
    failed = sum(1 for hop in found.hops if hop.failed)
    cleaning = any(flow.settled and flow.ended_at is None for flow in found.flows)
    state = "still runs" if found.active else "has ended, its clean-up goes on" if cleaning else "has ended"
    return f"{len(found.hops)} hops, {len(roles)} roles, {len(hosts)} hosts, {failed} failed; the operation {state}."


def _as_json(found: Operation) -> dict[str, Any]:
    start = found.hops[0].at if found.hops else None
    return {
        "active": found.active,
        "flows": [
            {"id": flow.id, "name": flow.name, "state": flow.state, "request_id": flow.request_id,
             "resource_id": flow.resource_id, "fault": flow.fault}
            for flow in found.flows
        ],
        "hops": [
            msgspec.structs.asdict(hop) | {"depth": depth, "root": root,
                                           "offset_ms": round((hop.at - start).total_seconds() * 1000, 3)}
            for hop, depth, root in zip(found.hops, found.depths, found.roots, strict=True) if start is not None
        ],
    }
