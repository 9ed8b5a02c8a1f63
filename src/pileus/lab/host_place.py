"""A host as a place for engines (`Place`), and for the cloud's own commands."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pileus.lab import hosts
from pileus.lab.hosts import Host
from pileus.lab.kernel_view import Seen

RECORD = "processes.json"
KILL_TIMEOUT_S = 10.0
POLL_S = 0.02
SAID_CHARS = 4_000
# The shell ends at once; what it has started, the host's first process takes in.
_START = 'log=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!'


class Record(msgspec.Struct, frozen=True):
    """A process that was started. program: the first word of its command line then."""

    program: str
    seen: Seen


class HostProcess:
    """See `Started`."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    @property
    def pid(self) -> int:
        return self._seen.pid

    def alive(self) -> bool:
        return self._seen.alive()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if not self._ends(KILL_TIMEOUT_S):
            raise RuntimeError(f"process {self.pid} was killed but does not end")

    def stop(self, timeout_s: float) -> None:
        self._signal(signal.SIGTERM)
        if not self._ends(timeout_s):
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _ends(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True


class HostPlace:
    """See `Place`. What was started is written down in `directory`, for other shells: `started()`."""

    def __init__(self, host: Host, address: str, directory: Path) -> None:
        self.host = host
        self.address = address
        self.directory = directory

    @property
    def name(self) -> str:
        return self.host.name

    def start(
        self, argv: Sequence[str], *, log: Path, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> HostProcess:
        log.parent.mkdir(parents=True, exist_ok=True)
        inner = self.run(("sh", "-c", _START, "sh", str(log), *_as_user(user), *argv), timeout_s=20.0, env=env)
        seen = self.host.process(int(inner))
        if seen is None:
            end = log.read_text(errors="replace")[-SAID_CHARS:] if log.exists() else ""
            raise RuntimeError(f"{argv[0]} on {self.name} ended at once: {end.strip()}")
        self._record([*self._known(), Record(argv[0], seen)])
        return HostProcess(seen)

    def run(
        self, argv: Sequence[str], *, timeout_s: float, input: str | None = None, user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        silent, pipe = subprocess.DEVNULL, subprocess.PIPE
        process = subprocess.Popen(
            self.host.enter((*_as_user(user), *argv)), stdin=silent if input is None else pipe, stdout=pipe,
            stderr=pipe, text=True, errors="replace", cwd="/", env=hosts.environment() | dict(env or {}),
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(input, timeout_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # nsenter alone would leave what it runs behind
            process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise RuntimeError(f"{argv[0]} on {self.name} did not end within {timeout_s:g} s") from None
            raise
        if process.returncode != 0:
            said = (stdout + stderr)[-SAID_CHARS:].strip()
            raise RuntimeError(f"{argv[0]} on {self.name} ended with {process.returncode}: {said}")
        return stdout

    def started(self) -> dict[str, HostProcess]:
        """What was started here and still runs, by its program."""
        return {record.program: HostProcess(record.seen) for record in self._known()}

    def _known(self) -> list[Record]:
        try:
            found = msgspec.json.decode((self.directory / RECORD).read_bytes(), type=list[Record])
        except (OSError, msgspec.DecodeError):
            return []
        return [record for record in found if record.seen.alive()]

    def _record(self, found: list[Record]) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / RECORD).write_bytes(msgspec.json.encode(found))


def _as_user(user: str | None) -> tuple[str, ...]:
    if user is None:
        return ()
    try:
        group = pwd.getpwnam(user).pw_gid  # hosts have the machine's users
    except KeyError:
        raise RuntimeError(f"there is no user {user}") from None
    return ("setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", "--")
