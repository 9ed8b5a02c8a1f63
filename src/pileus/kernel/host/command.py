"""Run one program to its end, with a limit on time and output. No shell is ever involved."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from msgspec import Struct

DEFAULT_TIMEOUT_S = 20.0
REAP_TIMEOUT_S = 2.0
ERROR_TEXT_CHARS = 2000


class Completed(Struct, frozen=True):
    """What a program left behind."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


class CommandError(Exception):
    """A program failed, was missing, or took too long. `stderr` is shortened text for people."""

    def __init__(self, argv: Sequence[str], exit_code: int | None, stderr: str) -> None:
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.stderr = stderr.strip()[:ERROR_TEXT_CHARS]
        how = "did not end in time" if exit_code is None else f"exit code {exit_code}"
        super().__init__(f"{' '.join(argv)[:200]}: {how}: {self.stderr}")


async def run(
    argv: Sequence[str],
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    input: bytes | str | None = None,
    ok_codes: tuple[int, ...] = (0,),
) -> Completed:
    """Run `argv`, feed it `input`, wait for its end.

    Raises CommandError when the exit code is not in `ok_codes`, the program does not exist, or `timeout_s` passed
    (the program is then killed).
    """
    data = input.encode() if isinstance(input, str) else input
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL if data is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(argv, 127, str(error)) from error
    try:
        async with asyncio.timeout(timeout_s):
            stdout, stderr = await process.communicate(data)
    except TimeoutError:
        raise CommandError(argv, None, f"killed after {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started
            await _reap(process)
    code = process.returncode if process.returncode is not None else -1
    if code not in ok_codes:
        raise CommandError(argv, code, stderr.decode(errors="replace") or stdout.decode(errors="replace"))
    return Completed(code, stdout, stderr)


async def _reap(process: asyncio.subprocess.Process) -> None:
    """A killed process ends at once, unless the kernel itself hangs on its behalf: then nobody waits for it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REAP_TIMEOUT_S):
            await process.wait()
