"""What every engine's processes have in common: begin, answer, end; one, and one on each of several hosts."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pileus.lab.place import Place, Started

PROBE_TIMEOUT_S = 5.0
SHOWN_OF_LOG = 2_000
PROBE = """\
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3) as s:
    s.settimeout(3)
    s.sendall(bytes.fromhex(sys.argv[3]))
    sys.stdout.write(s.recv(4096).hex())
"""


class Member(ABC):
    """One process of an engine in one place. Restart after `kill` or `stop` is `start` again: its data stay.

    poll_s: how often it is asked at its start. stop_timeout_s: how long it may take to end in order.
    """

    poll_s: ClassVar[float] = 0.05
    stop_timeout_s: ClassVar[float] = 30.0

    def __init__(self, place: Place) -> None:
        self.place = place
        self._process: Started | None = None

    @property
    def name(self) -> str:
        """Its host's."""
        return self.place.name

    @property
    def log(self) -> Path:
        """What it says."""
        return self.place.directory / "log"

    @property
    def pid(self) -> int:
        """Of its process. RuntimeError when it was not started."""
        if self._process is None:
            raise RuntimeError(f"{self._what} was not started")
        return self._process.pid

    @property
    def _what(self) -> str:
        return f"{type(self).__name__} on {self.place.name}"

    @abstractmethod
    def start(self) -> None:
        """Write what it needs and start it; it need not answer yet."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it does its work now."""

    def wait_ready(self, timeout_s: float) -> None:
        """Until it answers. RuntimeError with the end of its log when it ended, or does not answer in time."""
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            if not self.alive():
                raise RuntimeError(f"{self._what} ended at its start:\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._what} does not answer after {timeout_s:g} s:\n{self._last_words()}")
            time.sleep(self.poll_s)

    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.alive()

    def adopt(self, process: Started | None) -> None:
        """Take over the process that another shell has started for it; None: there is none."""
        self._process = process

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End it in order; killed when it takes too long."""
        if self._process is not None:
            self._process.stop(self.stop_timeout_s)

    def status(self) -> str:
        """`running`, or what it is otherwise, in a few words."""
        return "running" if self.answers() else self._silent()

    def _silent(self) -> str:
        """Its status when it does not answer."""
        return "not answering" if self.alive() else "down"

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")[-SHOWN_OF_LOG:]
        return "(it wrote nothing)"


M = TypeVar("M", bound=Member)


class Members(Generic[M]):
    """An engine's members, one on each of several hosts. ready_timeout_s: for a start to which no time is given."""

    ready_timeout_s: ClassVar[float]

    def __init__(self, members: Iterable[M]) -> None:
        self.members = tuple(members)

    def bootstrap(self, timeout_s: float | None = None) -> None:
        """The first start. RuntimeError when a member does not answer in time."""
        self.restart(timeout_s)

    def restart(self, timeout_s: float | None = None) -> None:
        """Start those that are down, all at once. RuntimeError when one does not answer in time."""
        down = [member for member in self.members if not member.alive()]
        for member in down:
            member.start()
        for member in down:
            member.wait_ready(timeout_s or self.ready_timeout_s)

    def kill(self) -> None:
        """SIGKILL to all, as a power cut."""
        for member in self.members:
            member.kill()

    def stop(self) -> None:
        """End all in order."""
        for member in self.members:
            member.stop()

    def status(self) -> dict[str, str]:
        """A few words on each member, by its host's name."""
        return {member.name: member.status() for member in self.members}


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """A file that is whole and has its mode from the start, or is as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    new.chmod(mode)  # whatever the umask says
    new.replace(path)


def reply(place: Place, port: int, question: bytes) -> bytes:
    """The first bytes of the answer on a TCP port of the place, asked from there; empty when there is none."""
    asked = [sys.executable, "-I", "-S", "-c", PROBE, place.address, str(port), question.hex()]
    try:
        return bytes.fromhex(place.run(asked, timeout_s=PROBE_TIMEOUT_S).strip())
    except (RuntimeError, ValueError):
        return b""
