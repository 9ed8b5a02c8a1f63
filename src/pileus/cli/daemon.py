"""`pileus up`, `down` and the running process: start it detached, find it, end it.

The process holds a lock on its pid file for as long as it lives, so that a file left by a crash, or one whose id
somebody else has now, is known for what it is, and a second process of the same cloud does not start. The file says
"starting 1234" until the process serves, then "1234".
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from pileus.cli.layout import Layout
from pileus.kernel.process.state_dir import make_state_dir

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
KILL_TIMEOUT_S = 10.0  # what the kernel may need to clear a killed process away
POLL_S = 0.02
LOCK_TIMEOUT_S = 1.0
LOG_TAIL_LINES = 15
LOG_TAIL_BYTES = 1_000_000
STARTING = b"starting "

Stopped = Literal["not running", "stopped", "killed"]


class StartFailed(RuntimeError):
    """The cloud did not come up; the text ends with the end of its log."""


@contextlib.contextmanager
def only_process(layout: Layout) -> Iterator[BinaryIO]:
    """Hold the cloud's pid file until the end; `announce` says that we serve. RuntimeError when another has it."""
    layout.pid_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with layout.pid_file.open("ab") as file:
        if not _locked(file):
            raise RuntimeError(f"a process of the cloud in {layout.state_dir} runs already")
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
    """Say that this process serves now."""
    _say(file, b"")


def _say(file: BinaryIO, state: bytes) -> None:
    file.truncate(0)
    file.write(state + f"{os.getpid()}\n".encode())
    file.flush()


def running_pid(layout: Layout) -> int | None:
    """The process id of this cloud's process once it serves, or None. PermissionError when it is somebody else's."""
    content = _held(layout)
    return int(content) if content.strip().isdigit() else None


def holder_pid(layout: Layout) -> int | None:
    """The process id of this cloud's process, also of one that has not come so far as to serve."""
    number = _held(layout).removeprefix(STARTING).strip()
    return int(number) if number.isdigit() else None


def _held(layout: Layout) -> bytes:
    """What the process that holds the pid file has written there; nothing when none does."""
    try:
        with layout.pid_file.open("rb") as file:
            return b"" if _free(file) else file.read()
    except (FileNotFoundError, NotADirectoryError):
        return b""


def _free(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def answers(layout: Layout) -> bool:
    """Whether the port answers, identity included."""
    try:
        with urllib.request.urlopen(layout.node.url + "/identity/v3", timeout=2) as response:  # noqa: S310
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def comes_up(layout: Layout, pid: int) -> bool:
    """Whether the process that holds the pid file answers; one that is starting gets the time that takes."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while running_pid(layout) is None and holder_pid(layout) == pid and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return running_pid(layout) == pid and answers(layout)


def start(layout: Layout) -> tuple[int, float]:
    """Start the cloud as a process of its own session and wait until it answers. Returns (pid, seconds it took)."""
    make_state_dir(layout.state_dir)
    layout.log_file.parent.mkdir(exist_ok=True, mode=0o700)
    command = [sys.executable, "-m", "pileus.cli.main", "run", "--state-dir", str(layout.state_dir)]
    if layout.config_file is not None:
        command += ["--config", str(layout.config_file)]
    begun = time.monotonic()
    with layout.log_file.open("ab") as log:
        os.fchmod(log.fileno(), 0o600)
        earlier_bytes = log.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
        )
    while not (running_pid(layout) == process.pid and answers(layout)):
        if process.poll() is not None:
            raise StartFailed(f"pileus ended with status {process.returncode}:\n{log_tail(layout, earlier_bytes)}")
        if time.monotonic() - begun > READY_TIMEOUT_S:
            process.kill()
            process.wait()
            tail = log_tail(layout, earlier_bytes)
            raise StartFailed(f"pileus did not answer within {READY_TIMEOUT_S:.0f} s:\n{tail}")
        time.sleep(POLL_S)
    return process.pid, time.monotonic() - begun


def stop(layout: Layout, timeout_s: float = STOP_TIMEOUT_S) -> Stopped:
    """End the cloud's process, by force when it does not end by itself; guests and networks stay. RuntimeError when not
    even that helps."""
    pid = holder_pid(layout)
    if pid is None:
        return "not running"
    os.kill(pid, signal.SIGTERM)
    if _ends(layout, pid, timeout_s):
        return "stopped"
    os.kill(pid, signal.SIGKILL)
    if _ends(layout, pid, KILL_TIMEOUT_S):
        return "killed"
    raise RuntimeError(f"process {pid} was killed but does not end; the kernel holds it")


def _ends(layout: Layout, pid: int, timeout_s: float) -> bool:
    """Whether the process is gone in time."""
    deadline = time.monotonic() + timeout_s
    while holder_pid(layout) == pid or _alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def log_tail(layout: Layout, from_byte: int = 0) -> str:
    """The last lines of the log, of those after `from_byte`."""
    try:
        with layout.log_file.open("rb") as file:
            file.seek(from_byte)
            lines = file.read(LOG_TAIL_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join("  " + line for line in lines[-LOG_TAIL_LINES:])
