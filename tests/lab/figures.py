"""What a load under a fault says: figures for the promises, and whether every accepted request has ended, once."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections import Counter

import msgspec

from tests.lab.rehearsal import ROOT, Rehearsal
from tests.lab.steady_load import LISTS, Call, Record, Server
from tests.scenario.kills.world import imagined_guests

PROMISES = ROOT / "build" / "promises"
SLOWER, SLOWER_S = 1.5, 1.0
"""A boot is late when it takes that much longer than the longest before the fault."""


class Figures(msgspec.Struct, frozen=True):
    """downtime_s: the longest that somebody who asks an API again and again, from any moment on, waited for a good
    answer. api: which one's. failed, calls: of all kinds. recover_s: from the fault (from its end when it lasts) until
    no boot was late any more. usual_s: the longest boot before. refused: accepted servers that ended in ERROR."""

    fault: str
    promise: str
    limit_s: float | None
    downtime_s: float
    api: str
    failed: int
    calls: int
    recover_s: float
    usual_s: float
    boots: int
    refused: int
    date: str
    tree: str
    machine: str


def of(record: Record, *, fault: str, promise: str, limit_s: float | None, at: float, over: float) -> Figures:
    """The figures of a load under a fault that began and ended at those moments (monotonic)."""
    downtimes = {api: _downtime_s([call for call in record.calls if call.what == api]) for api in LISTS}
    worst = max(downtimes, key=lambda api: downtimes[api])
    failed = [call for call in record.calls if not call.good]
    usual_s = max((boot.ended - boot.asked for boot in record.boots.values() if 0 < boot.ended < at), default=0.0)
    late = [
        boot.ended for boot in record.boots.values()
        if boot.ended > at and boot.ended - boot.asked > usual_s * SLOWER + SLOWER_S
    ]
    late += [call.ended for call in failed if call.what == "boot" and call.ended > at]
    return Figures(
        fault=fault, promise=promise, limit_s=limit_s, downtime_s=round(downtimes[worst], 2), api=worst,
        failed=len(failed), calls=len(record.calls), recover_s=round(max(0.0, max(late, default=0.0) - over), 1),
        usual_s=round(usual_s, 1), boots=len(record.boots),
        refused=sum(boot.state == "ERROR" for boot in record.boots.values()),
        date=time.strftime("%Y-%m-%d", time.gmtime()), tree=_tree(),
        machine=f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.0f}, Python {platform.python_version()}",
    )


def _downtime_s(calls: list[Call]) -> float:
    """For each call the time until the first good answer to it or to a later one; the longest of these."""
    longest, answered = 0.0, float("inf")
    for call in sorted(calls, key=lambda call: call.begun, reverse=True):
        answered = min(answered, call.ended) if call.good else answered
        if answered < float("inf"):
            longest = max(longest, answered - call.begun)
    assert answered < float("inf"), f"no good answer at all: {calls[-1:]}"
    return longest


def keep(name: str, figures: Figures) -> None:
    """Write them down for the table of promises."""
    PROMISES.mkdir(parents=True, exist_ok=True)
    (PROMISES / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")


def _tree() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


# -- the accounting ----------------------------------------------------------------------------------------------


def failures(record: Record) -> Counter[str]:
    """What went wrong, counted: calls, and servers that ended in ERROR."""
    calls = Counter(f"{call.what} {call.status} {call.said[-160:]}" for call in record.calls if not call.good)
    return calls + Counter(boot.fault for boot in record.boots.values() if boot.state == "ERROR")


def unaccounted(record: Record, guests: dict[str, list[str]]) -> list[str]:
    """All that is wrong with what a load has left behind. guests: compute host -> ids of the servers that run there."""
    wrong = [f"{name} did not end: {record.boots[name]}" for name in record.unfinished]
    for name, boot in record.boots.items():
        if len(boot.ids) > 1:
            wrong.append(f"{name} was made {len(boot.ids)} times: {boot.ids}")
        if boot.id and boot.ids - {boot.id}:
            wrong.append(f"{name} was accepted as {boot.id} and made as {boot.ids}")
        if boot.id and not boot.state and not boot.delete_asked:
            wrong.append(f"{name} was accepted and was never there: {boot}")
        if boot.state == "GONE" and not boot.delete_asked:
            wrong.append(f"{name} vanished though nobody deleted it: {boot}")
    wrong += [f"{name} is there {n} times" for name, n in Counter(one.name for one in record.servers).items() if n > 1]
    for server in record.servers:
        wrong += _wrong_with(server, guests)
    known = {server.id for server in record.servers}
    wrong += [f"a guest on {host} of no server: {one}" for host, ids in guests.items() for one in set(ids) - known]
    return wrong


def _wrong_with(server: Server, guests: dict[str, list[str]]) -> list[str]:
    where = [host for host, ids in guests.items() for one in ids if one == server.id]
    if server.status == "ERROR":
        wrong = [] if server.fault else [f"{server.name} is in ERROR without a fault"]
        return wrong + ([f"{server.name} is in ERROR and runs on {where}"] if where else [])
    wrong = [] if where == [server.host] else [f"{server.name} is on {server.host} and runs on {where}"]
    if len(server.providers) != 1:
        wrong.append(f"{server.name} has allocations from {server.providers}")
    if server.ports != 1:
        wrong.append(f"{server.name} has {server.ports} ports")
    return wrong


def guests(lab: Rehearsal, computes: tuple[str, ...]) -> dict[str, list[str]]:
    """Compute host -> ids of the servers whose guests run there."""
    return {
        host: [line.removeprefix("guest ") for line in imagined_guests(lab.disk(host) / "state")] for host in computes
    }


def verified(lab: Rehearsal, host: str) -> list[str]:
    """What `pileus verify` finds on all hosts, asked on one, and what it could not compare."""
    said = json.loads(lab.shell(host, "pileus", "verify", "--json", check=False))
    findings = [f"verify: {one['name']} {one['resources']} {one['host']} {one['says']}" for one in said["findings"]]
    return findings + [f"verify: not compared: {item}" for item in said["problems"]]
