"""Looking until what is seen can be told: twice, some seconds apart, so that nothing in motion is called a finding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from pileus.kernel.bus import Bus
from pileus.verify import catalogue
from pileus.verify.evidence import whole
from pileus.verify.evidence.host import Problem
from pileus.verify.evidence.whole import Databases, Evidence
from pileus.verify.finding import Finding
from pileus.verify.installation import Installation

SETTLE_S = 3.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """findings: those that stood, in the catalogue's order. problems: what could not be compared. counts: how many of
    what was compared. seconds: the last look took."""

    findings: list[Finding]
    problems: list[Problem]
    counts: dict[str, int]
    seconds: float


async def judge(
    installation: Installation, databases: Databases, bus: Bus | None = None, *, settle_s: float | None = None,
    waiting: Callable[[int, float], None] = lambda number, seconds: None,
) -> Verdict:  # fmt: skip
    """Look, and if anything is found look again.

    bus: over which other hosts are asked. settle_s: how far apart; None: as far as each kind of finding needs; 0: one
    look. `waiting` is told how many findings wait for how long.
    """
    look = await _look(installation, databases, bus)
    begun, standing = time.monotonic(), {finding.key for finding in look.findings}
    while settle_s != 0 and look.findings:
        left = _stands_for_s(look.findings, settle_s) - (time.monotonic() - begun)
        if left <= 0:
            break
        pause = min(left, settle_s or SETTLE_S)
        waiting(len(look.findings), pause)
        await asyncio.sleep(pause)
        again = await _look(installation, databases, bus)
        found = [finding for finding in again.findings if finding.key in standing]
        look, standing = msgspec.structs.replace(again, findings=found), {finding.key for finding in found}
    return look


def _stands_for_s(found: list[Finding], settle_s: float | None) -> float:
    """How long all of these must stand to count."""
    if settle_s is not None:
        return settle_s
    return max(max(catalogue.BY_NAME[finding.name].notice_s, SETTLE_S) for finding in found)


async def _look(installation: Installation, databases: Databases, bus: Bus | None) -> Verdict:
    begun = time.monotonic()
    evidence = await whole.look(installation, databases, bus)
    found = await asyncio.to_thread(catalogue.findings, evidence)
    seconds = round(time.monotonic() - begun, 3)
    return Verdict(findings=found, problems=evidence.problems, counts=counts(evidence), seconds=seconds)


def counts(evidence: Evidence) -> dict[str, int]:
    """How many of what was compared, for the verdict's line."""
    parts: dict[str, object] = {}
    if evidence.compute is not None:
        parts["servers"] = evidence.compute.servers
    if evidence.network is not None:
        parts["networks"], parts["ports"] = evidence.network.networks, evidence.network.ports
    if evidence.placement is not None:
        parts["claims"] = evidence.placement.consumers
    if evidence.image is not None:
        parts["images"] = evidence.image.images
    found = {name: len(part) for name, part in parts.items()}  # type: ignore[arg-type]
    for host in whole.each_host(evidence):
        if host.guests is not None:
            found["guests"] = found.get("guests", 0) + len(host.guests)
        if host.kernel is not None:
            found["devices"] = found.get("devices", 0) + len(host.kernel.links)
        if host.disks is not None:
            found["server directories"] = found.get("server directories", 0) + len(host.disks.instances)
    if evidence.elsewhere:
        found["hosts"] = 1 + len(evidence.elsewhere)
    return found
