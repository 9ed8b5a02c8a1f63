"""A host: network, mount, UTS, IPC and PID namespaces of its own, held by one small process whose death ends it all.

Nothing is recorded outside: hosts are found by the command lines of their first processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from pileus.lab import kernel_view
from pileus.lab.kernel_view import Seen

MARK = "pileus-lab-host"
INIT = Path(__file__).with_name("init.py")
READY_TIMEOUT_S = 30.0
END_TIMEOUT_S = 20.0
POLL_S = 0.01
HIDDEN = ("/tmp", "/run", "/dev/shm")  # noqa: S108
"""What a host has empty ones of."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Furniture(msgspec.Struct, frozen=True):
    """What a host finds in its file system. binds: (path outside, path inside). files: path inside -> text."""

    binds: Sequence[tuple[str, str]]
    files: Mapping[str, str] = {}


class Host(msgspec.Struct, frozen=True):
    """A host of the lab in that directory, whether it runs or not."""

    lab: Path
    name: str

    def start(self, furniture: Furniture | None) -> int:
        """Make its namespaces and return its first process's id. furniture: None leaves it the machine's file system
        (and a process in there can do what it likes to it). RuntimeError says what went wrong."""
        wanted = None if furniture is None else {
            "binds": [*furniture.binds, *_own_programs()], "files": dict(furniture.files)
        }
        argv = (
            "unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL", "--mount-proc",
            "--propagation", "private", "--",
            sys.executable, "-I", "-S", str(INIT), MARK, str(self.lab), self.name, json.dumps(wanted),
        )
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            cwd="/", env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
        )
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout, process.stderr:
            ready, _, _ = select.select([process.stdout], [], [], READY_TIMEOUT_S)
            if not ready or process.stdout.readline() != b"ready\n":
                process.kill()
                said = process.stderr.read().decode(errors="replace").strip()
                process.wait()
                raise RuntimeError(f"host {self.name} cannot be made: {said or 'it did not get ready in time'}")
        process.returncode = 0  # it stays; nobody waits for it here
        pid = self.pid
        assert pid is not None
        return pid

    @property
    def pid(self) -> int | None:
        """The id of its first process, as seen from here; None when the host does not run."""
        for pid, name in _holders(self.lab):
            if name == self.name and kernel_view.inner_pids(pid)[1:] == (1,):
                return pid
        return None

    def the_pid(self) -> int:
        """Like `pid`; RuntimeError when it does not run."""
        if (pid := self.pid) is None:
            raise RuntimeError(f"host {self.name} is off")
        return pid

    def enter(self, argv: Sequence[str], *, only_net: bool = False) -> list[str]:
        """The command line that runs `argv` in it. only_net: with the machine's files and process ids."""
        pid = self.the_pid()
        if only_net:
            return ["nsenter", f"--net=/proc/{pid}/ns/net", "--", *argv]
        spaces = ("--net", "--mount", "--uts", "--ipc", "--pid", "--root", "--wd")
        return ["nsenter", "--target", str(pid), *spaces, "--", *argv]

    def processes(self) -> list[int]:
        """The ids of all processes in it but the first, as seen from here."""
        first = self.pid
        if first is None:
            return []
        own = kernel_view.namespace(first, "pid")
        return [pid for pid in kernel_view.pids() if pid != first and kernel_view.namespace(pid, "pid") == own]

    def process(self, inner: int) -> Seen | None:
        """The process that has that id inside."""
        for pid in self.processes():
            if kernel_view.inner_pids(pid)[-1:] == (inner,):
                return kernel_view.see(pid)
        return None

    def end(self) -> None:
        """End everything in it at once, as a power cut does; what is on its disk stays. Fine when it is off."""
        end_all(self.lab, self.name)


def running(lab: Path) -> set[str]:
    """The names of a lab's hosts that run."""
    return {name for pid, name in _holders(lab) if kernel_view.inner_pids(pid)[1:] == (1,)}


def labs_with_hosts() -> set[Path]:
    """The directories of all labs of which something runs."""
    return {Path(words[at + 1]) for _, words, at in _marked()}


def end_all(lab: Path, name: str | None = None) -> None:
    """End the hosts of a lab (or one), whatever state they are in. RuntimeError when one does not end."""
    deadline = time.monotonic() + END_TIMEOUT_S
    killed: set[Seen] = set()
    while True:
        found = {seen for pid, host in _holders(lab) if name in (None, host) and (seen := kernel_view.see(pid))}
        for seen in found - killed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(seen.pid, signal.SIGKILL)
        killed |= found
        # One that is dying has no command line any more; it is gone only when all in its host are.
        left = [seen for seen in killed if seen.alive()]
        if not left and not found:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"process {(left or list(found))[0].pid} of lab {lab.name} was killed but does not end")
        time.sleep(POLL_S)


def environment() -> dict[str, str]:
    """What programs in a host have as environment: nothing of the caller's but its terminal and its Python path."""
    kept = {name: os.environ[name] for name in ("TERM", "PYTHONPATH") if name in os.environ}
    path = f"{Path(sys.executable).parent}:{SYSTEM_PATH}"
    return {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", **kept}


def _holders(lab: Path) -> Iterator[tuple[int, str]]:
    """The processes that hold a lab's hosts, with the hosts' names."""
    return ((pid, words[at + 2]) for pid, words, at in _marked() if words[at + 1] == str(lab))


def _marked() -> Iterator[tuple[int, list[str], int]]:
    for pid in kernel_view.pids():
        words = kernel_view.command_line(pid)
        if MARK in words and (at := words.index(MARK)) + 2 < len(words) and words[at - 1] == str(INIT):
            yield pid, words, at


def _own_programs() -> list[tuple[str, str]]:
    """Where this program is, as far as a host would not see it."""
    found = {sys.prefix, sys.base_prefix, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)),
             str(Path(__file__).parents[2])}
    return [(path, path) for path in sorted(found) if path.startswith(tuple(f"{folder}/" for folder in HIDDEN))]
