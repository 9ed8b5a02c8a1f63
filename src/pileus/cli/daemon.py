"""The processes of this host as daemons: start them detached, find them, end them.

A process holds a lock on its pid file for as long as it lives, so that a file left by a crash, or one whose id somebody
else has now, is known for what it is, and a second process of the same name does not start. The file says
"starting 1234" until the process serves, then "1234".
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from pileus.cli.layout import Layout
from pileus.cli.processes import WHOLE, Process
from pileus.kernel.process.state_dir import make_state_dir

READY_TIMEOUT_S = 90.0  # longer than a process waits for its database server before it gives up and says so
STOP_TIMEOUT_S = 30.0
KILL_TIMEOUT_S = 10.0  # what the kernel may need to clear a killed process away
POLL_S = 0.02
LOCK_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 2.0
LOG_TAIL_LINES = 15
CRASH = "Fatal Python error"
CRASH_LINES = 120
"""What faulthandler writes begins with the thread that crashed, and goes on with all others."""
LOG_TAIL_BYTES = 1_000_000
STARTING = b"starting "

Stopped = Literal["stopped", "killed"]


class StartFailed(RuntimeError):
    """Processes did not come up; the text has a paragraph for each, which ends with the end of its log."""


class Started(msgspec.Struct, frozen=True):
    """A process that came up, and the seconds that it took."""

    process: Process
    pid: int
    took_s: float


# -- in the process itself -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def only_process(process: Process) -> Iterator[BinaryIO]:
    """Hold the process's pid file until the end; `announce` says that we serve. RuntimeError when another has it."""
    process.pid_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with process.pid_file.open("ab") as file:
        if not _locked(file):
            which = "a process" if process.name == WHOLE else f"the process {process.name}"
            raise RuntimeError(f"{which} of the cloud in {process.layout.state_dir} runs already")
        _say(file, STARTING)
        try:
            yield file
        finally:
            file.truncate(0)


def _locked(file: BinaryIO) -> bool:
    # Whoever looks for the process takes the lock for a moment: not the first refusal counts.
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S / 2)
        else:
            return True


def announce(file: BinaryIO) -> None:
    """Say that this process serves now, to whoever looks and to a systemd that started it."""
    _say(file, b"")
    if address := os.environ.pop("NOTIFY_SOCKET", None):  # not for what is started from here
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.connect("\0" + address[1:] if address.startswith("@") else address)
            notified.send(b"READY=1")


def _say(file: BinaryIO, state: bytes) -> None:
    file.truncate(0)
    file.write(state + f"{os.getpid()}\n".encode())
    file.flush()


# -- find ------------------------------------------------------------------------------------------------------------


def running_pid(process: Process) -> int | None:
    """The id of the process once it serves, or None. PermissionError when it is somebody else's."""
    content = _held(process.pid_file)
    return int(content) if content.strip().isdigit() else None


def holder_pid(process: Process) -> int | None:
    """The id of the process, also of one that has not come so far as to serve."""
    return _number(_held(process.pid_file))


def running(layout: Layout) -> dict[str, int]:
    """All processes that run here by their names, also those that the configuration no longer names."""
    files = [file for file in layout.run_dir.glob("*.pid") if "@" not in file.name]  # those are of roles
    return {file.stem: pid for file in sorted(files) if (pid := _number(_held(file))) is not None}


def _number(content: bytes) -> int | None:
    number = content.removeprefix(STARTING).strip()
    return int(number) if number.isdigit() else None


def _held(pid_file: Path) -> bytes:
    """What the process that holds the pid file has written there; nothing when none does."""
    try:
        with pid_file.open("rb") as file:
            return b"" if _free(file) else file.read()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _free(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def answers(process: Process) -> bool:
    """Whether the process's port answers; one without a port always does."""
    return process.probe_url is None or url_answers(process.probe_url)


def url_answers(url: str) -> bool:
    """Whether there is a 200 at the URL."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as response:  # noqa: S310
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def comes_up(process: Process, pid: int, timeout_s: float = READY_TIMEOUT_S) -> bool:
    """Whether the process that holds the pid file answers; one that is starting gets the time that takes."""
    deadline = time.monotonic() + timeout_s
    while running_pid(process) is None and holder_pid(process) == pid and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return running_pid(process) == pid and answers(process)


# -- start -----------------------------------------------------------------------------------------------------------


class _Starting:
    """A process that was started and does not serve yet."""

    def __init__(self, process: Process, timeout_s: float, *options: str, stdin: int = subprocess.DEVNULL) -> None:
        self.process = process
        self._timeout_s = timeout_s
        self.begun = time.monotonic()
        process.log_file.parent.mkdir(exist_ok=True, mode=0o700)
        with process.log_file.open("ab") as log:
            os.fchmod(log.fileno(), 0o600)
            self._earlier_bytes = log.tell()
            self.child = subprocess.Popen(
                [*process.command, *options], stdin=stdin, stdout=log, stderr=log, start_new_session=True,
                close_fds=True,
            )

    def outcome(self) -> Started | str | None:
        """That it serves, or why it never will; None while it is under way."""
        if running_pid(self.process) == self.child.pid and answers(self.process):
            return Started(self.process, self.child.pid, time.monotonic() - self.begun)
        if self.child.poll() is not None:
            return self._failure(f"ended with status {self.child.returncode}")
        if time.monotonic() - self.begun > self._timeout_s:
            self.child.kill()
            self.child.wait()
            return self._failure(f"did not answer within {self._timeout_s:.0f} s")
        return None

    def _failure(self, what: str) -> str:
        where = "" if self.process.name == WHOLE else f" (log {self.process.log_file})"
        return f"{self.process.name} {what}{where}:\n{log_tail(self.process, self._earlier_bytes)}"


def start(processes: Iterable[Process], timeout_s: float = READY_TIMEOUT_S) -> Iterator[Started]:
    """Start all of them at once, each as a process of its own session; yields each as it comes up. Raises `StartFailed`
    at the end when some did not; those that take longer than the time are ended."""
    under_way: list[_Starting] = []
    for process in processes:
        make_state_dir(process.layout.state_dir)
        under_way.append(_Starting(process, timeout_s))
    yield from _coming_up(under_way)


class Ready:
    """A process that has loaded everything and waits until it is told to begin. Until then it touches nothing; it ends
    with this process, or by `give_up`."""

    def __init__(self, process: Process) -> None:
        make_state_dir(process.layout.state_dir)
        self._starting = _Starting(process, READY_TIMEOUT_S, "--when-told", stdin=subprocess.PIPE)

    def go(self) -> Started:
        """Let it begin, and wait until it serves. Raises `StartFailed`."""
        stdin = self._starting.child.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: what follows says how
            stdin.write(b"\n")
            stdin.close()
        self._starting.begun = time.monotonic()
        (started,) = _coming_up([self._starting])
        return started

    def give_up(self) -> None:
        """End it, if it has not been told to begin."""
        stdin = self._starting.child.stdin
        assert stdin is not None
        if not stdin.closed:
            stdin.close()
            self._starting.child.wait(STOP_TIMEOUT_S)


def _coming_up(under_way: list[_Starting]) -> Iterator[Started]:
    failures: list[str] = []
    while under_way:
        for one in tuple(under_way):
            outcome = one.outcome()
            if outcome is None:
                continue
            under_way.remove(one)
            if isinstance(outcome, Started):
                yield outcome
            else:
                failures.append(outcome)
        if under_way:
            time.sleep(POLL_S)
    if failures:
        raise StartFailed("\n".join(failures))


# -- end -------------------------------------------------------------------------------------------------------------


def stop(layout: Layout, timeout_s: float = STOP_TIMEOUT_S) -> dict[str, Stopped]:
    """End all processes of the cloud on this host, by force those that do not end by themselves; guests and networks
    stay. What became of each, by its name. RuntimeError when not even force helps."""
    found = running(layout)
    for pid in found.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    left = _left(layout, found, timeout_s)
    for pid in left.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if held := _left(layout, left, KILL_TIMEOUT_S):
        pids = ", ".join(str(pid) for pid in held.values())
        raise RuntimeError(f"process {pids} was killed but does not end; the kernel holds it")
    return {name: "killed" if name in left else "stopped" for name in found}


def _left(layout: Layout, wanted: Mapping[str, int], timeout_s: float) -> dict[str, int]:
    """Those of the processes that have not ended in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        held = running(layout)
        left = {name: pid for name, pid in wanted.items() if held.get(name) == pid or _alive(pid)}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(POLL_S)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def log_tail(process: Process, from_byte: int = 0) -> str:
    """The last lines of the log, of those after `from_byte`; all from where the interpreter crashed, if it did."""
    try:
        with process.log_file.open("rb") as file:
            file.seek(from_byte)
            lines = file.read(LOG_TAIL_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    crash = next((at for at, line in enumerate(lines) if line.startswith(CRASH)), len(lines))
    return "\n".join("  " + line for line in lines[min(crash, max(0, len(lines) - LOG_TAIL_LINES)) :][:CRASH_LINES])
