"""`pileus verify`: compare what the databases say with each other and with what is really there."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from argparse import Namespace
from collections.abc import AsyncIterator
from itertools import groupby

import msgspec

from pileus.cli.layout import Layout
from pileus.kernel.bus import Bus
from pileus.kernel.process.buses import is_local, make_bus
from pileus.verify import catalogue, verdict
from pileus.verify.evidence.host import Problem
from pileus.verify.evidence.whole import Databases
from pileus.verify.finding import Finding
from pileus.verify.installation import Installation
from pileus.verify.verdict import Verdict

NOTHING, FOUND, NOT_COMPARED = 0, 1, 2
"""Exit status: all compared and nothing found; findings; a part could not be compared (and nothing was found)."""


def verify(layout: Layout, options: Namespace) -> int:
    """Print the verdict and what was found."""
    try:
        found = asyncio.run(judge(layout, settle_s_of(options)))
    except (ValueError, RuntimeError, OSError) as error:  # a configuration that cannot be used, say
        print(f"pileus: {error}", file=sys.stderr)
        return NOT_COMPARED
    print(as_json(found) if options.json else as_text(found))
    return status_of(found)


async def judge(layout: Layout, settle_s: float | None) -> Verdict:
    """Look and compare. settle_s: how far apart the looks are; None: as far as the findings need."""
    installation = Installation(layout.node, layout.tables)
    databases = Databases(installation)
    try:
        async with bus_of(layout) as bus:
            return await verdict.judge(installation, databases, bus, settle_s=settle_s, waiting=say_waiting)
    finally:
        databases.close()


@contextlib.asynccontextmanager
async def bus_of(layout: Layout) -> AsyncIterator[Bus | None]:
    """Over which other hosts can be asked; None where there is one host only."""
    if is_local(layout.tables):
        yield None
        return
    bus = make_bus(layout.node, layout.tables)
    await bus.open()
    try:
        yield bus
    finally:
        await bus.close()


def settle_s_of(options: Namespace) -> float | None:
    """How far apart the looks are, as the options say; None: as far as the findings need."""
    return 0.0 if options.once else options.settle_s


def say_waiting(number: int, seconds: float) -> None:
    """Tell people why nothing happens."""
    print(f"{_plural(number, 'finding')} may be in motion; looking again in {seconds:.0f} s", file=sys.stderr)


def status_of(found: Verdict) -> int:
    """The exit status."""
    return FOUND if found.findings else NOT_COMPARED if found.problems else NOTHING


def as_json(found: Verdict) -> str:
    """One object: what `Verdict` holds, each finding with what repair would do."""
    value = msgspec.to_builtins(found)
    for item in value["findings"]:
        kind = catalogue.BY_NAME[item["name"]]
        item |= {"sentence": kind.sentence, "repair": kind.repair.words, "repairable": kind.repair.act is not None}
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode()


def as_text(found: Verdict) -> str:
    """The verdict, then each kind of finding with its findings, then what could not be compared."""
    lines = [_verdict_line(found)]
    for name, group in groupby(found.findings, key=lambda finding: finding.name):
        lines += ["", f"{name}: {catalogue.BY_NAME[name].sentence}"]
        for finding in group:
            lines += describe(finding)
    return "\n".join([*lines, *_not_compared(found.problems)])


def _verdict_line(found: Verdict) -> str:
    if found.findings:
        return f"verify: {_plural(len(found.findings), 'finding')}"
    compared = ", ".join(f"{number} {what}" for what, number in found.counts.items()) or "nothing"
    return f"verify: nothing found ({compared} compared in {found.seconds:.1f} s)"


def describe(finding: Finding) -> list[str]:
    """One finding: which, what the one side says and what the other, what repair would do."""
    which = ", ".join(f"{kind} {value}" for kind, value in finding.resources.items())
    repair = catalogue.BY_NAME[finding.name].repair
    who = "repair would" if repair.act is not None else "decide yourself:"
    where = f" on {finding.host}" if finding.host else ""
    return [f"  {which}{where}", f"    {finding.says}", f"    {finding.found}", f"    {who} {repair.words}"]


def _not_compared(problems: list[Problem]) -> list[str]:
    if not problems:
        return []
    return ["", "not compared:", *(f"  {problem.part}: {problem.reason}" for problem in problems)]


def _plural(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
