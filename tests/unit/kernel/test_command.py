"""Programs are ended with everything they started when their time is over."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from pileus.kernel.host.command import CommandError, run


def alive(pid: int) -> bool:
    """Whether the process runs (a dead one that nobody has waited for yet does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def ended(pid: int) -> None:
    async with asyncio.timeout(20):
        while alive(pid):
            await asyncio.sleep(0.01)


async def a_program_and_its_child(tmp_path: Path, timeout_s: float) -> None:
    script = 'sleep 300 & echo $! > "$1"; wait'
    await run(("sh", "-c", script, "sh", str(tmp_path / "pid")), timeout_s=timeout_s)


async def child_of(tmp_path: Path) -> int:
    async with asyncio.timeout(20):
        while not (text := (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else "").strip():
            await asyncio.sleep(0.01)
    return int(text)


async def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    begun = time.monotonic()
    running = asyncio.create_task(a_program_and_its_child(tmp_path, 2.0))
    child = await child_of(tmp_path)
    assert alive(child)
    with pytest.raises(CommandError, match="did not end in time"):
        await running
    assert time.monotonic() - begun < 30
    await ended(child)


async def test_a_program_whose_caller_is_cancelled_is_ended_with_its_children(tmp_path: Path) -> None:
    running = asyncio.create_task(a_program_and_its_child(tmp_path, 300.0))
    child = await child_of(tmp_path)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await ended(child)
