"""`pileus repair`: what would put the findings of `pileus verify` right; with `--apply` it is done."""

from __future__ import annotations

import asyncio
import fcntl
from argparse import Namespace

import msgspec

from pileus.cli import verify as verify_command
from pileus.cli.layout import Layout
from pileus.kernel.errors import ServiceError
from pileus.kernel.host.command import CommandError
from pileus.verify import catalogue, verdict
from pileus.verify.evidence.whole import Databases
from pileus.verify.finding import Finding
from pileus.verify.installation import CouldNotLook, Installation
from pileus.verify.repairs.repair import RepairFailed, Tools
from pileus.verify.verdict import Verdict

MAX_ROUNDS = 3
"""A repair may lay bare what was hidden behind it: a flow that ends, what it leaves."""
FAILED, LEFT = "failed", "left to you"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one finding: `done`, `gone`, `failed` (with the reason) or `left to you`."""

    finding: Finding
    outcome: str
    reason: str = ""


def repair(layout: Layout, options: Namespace) -> int:
    """Print the plan; with `--apply` follow it, then verify again. Exit status as of `verify`: of what is left."""
    return asyncio.run(_repair(layout, options))


async def _repair(layout: Layout, options: Namespace) -> int:
    installation = Installation(layout.node, layout.tables)
    databases = Databases(installation)
    settle_s = verify_command.settle_s_of(options)
    try:
        async with verify_command.bus_of(layout) as bus:
            tools = Tools(installation, databases, bus, is_running=_is_running(layout), findings_in=catalogue.findings)
            return await _with(tools, settle_s, options)
    finally:
        databases.close()


async def _with(tools: Tools, settle_s: float | None, options: Namespace) -> int:
    found = await verdict.judge(
        tools.installation, tools.databases, tools.bus, settle_s=settle_s, waiting=verify_command.say_waiting
    )
    outcomes: list[Outcome] = []
    if options.apply and found.findings:
        found = await _rounds(tools, found, outcomes, settle_s, quiet=options.json)
    print(_as_json(found, outcomes) if options.json else _as_text(found, options.apply))
    return verify_command.status_of(found)


def _is_running(layout: Layout) -> bool:
    """Whether a process of this cloud, with all roles or with some, runs on this host: it holds its pid file."""
    for path in layout.run_dir.glob("*.pid"):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


async def _rounds(
    tools: Tools, found: Verdict, outcomes: list[Outcome], settle_s: float | None, *, quiet: bool
) -> Verdict:
    """Repair, look, and repair what came to light, while anything is gained by it. Returns the last verdict."""
    for _ in range(MAX_ROUNDS):
        round_ = [await _one(tools, finding, quiet=quiet) for finding in found.findings]
        outcomes += round_
        found = await verdict.judge(tools.installation, tools.databases, tools.bus, settle_s=settle_s)
        before = {item.finding.key for item in round_}
        if all(finding.key in before for finding in found.findings):
            break
    return found


async def _one(tools: Tools, finding: Finding, *, quiet: bool) -> Outcome:
    repair = catalogue.BY_NAME[finding.name].repair
    if repair.act is None:
        outcome = Outcome(finding=finding, outcome=LEFT)
    elif repair.on_host and finding.host != tools.installation.node.host:
        outcome = Outcome(finding=finding, outcome=LEFT, reason=f"only on {finding.host} itself can this be done")
    else:
        try:
            outcome = Outcome(finding=finding, outcome=await repair.act(tools, finding))
        except (RepairFailed, CouldNotLook, ServiceError, CommandError, OSError) as error:
            outcome = Outcome(finding=finding, outcome=FAILED, reason=" ".join(str(error).split()))
    if not quiet:
        which = ", ".join(f"{kind} {value}" for kind, value in finding.resources.items())
        print(f"{outcome.outcome:<11} {finding.name}: {which}" + (f": {outcome.reason}" if outcome.reason else ""))
    return outcome


def _as_text(found: Verdict, applied: bool) -> str:
    text = verify_command.as_text(found)
    if found.findings and not applied:
        text += "\n\nNothing was changed; `pileus repair --apply` does what it can."
    return text


def _as_json(found: Verdict, outcomes: list[Outcome]) -> str:
    value = msgspec.json.decode(verify_command.as_json(found))
    value["repairs"] = msgspec.to_builtins(outcomes)
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode()
