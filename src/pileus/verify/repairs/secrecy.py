"""Secrets are taken away from where others can read them. That they were there is told: they may be known by now."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from pileus.verify.evidence.secrecy import OTHERS_READ, patterns, places_of
from pileus.verify.finding import Finding
from pileus.verify.repairs.repair import Tools, outcome

COVER = b"*"


async def blacken(tools: Tools, finding: Finding) -> str:
    """Write over the secret in the log, as long as it is: whoever writes there goes on writing at the end."""
    wanted = patterns(tools.installation)
    path, name = Path(finding.resources["file"]), finding.resources["secret"]
    return outcome(name in wanted and await asyncio.to_thread(_blacken, path, {name: wanted[name]}))


def _blacken(path: Path, wanted: dict) -> bool:
    if not path.exists():
        return False
    places = places_of(path, wanted)
    with path.open("r+b") as file:
        for found in places.values():
            for start, length in found.items():
                file.seek(start)
                file.write(COVER * length)
        file.flush()
        os.fsync(file.fileno())
    return bool(places)


async def close(tools: Tools, finding: Finding) -> str:
    """Take the right to read from others; owner and group keep theirs."""
    return outcome(await asyncio.to_thread(_close, Path(finding.resources["file"])))


def _close(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if not mode & OTHERS_READ:
        return False
    path.chmod(mode & 0o7770)
    return True
