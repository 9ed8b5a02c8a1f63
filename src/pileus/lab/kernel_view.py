"""What the kernel says about processes: the only record of what runs in a lab, so that no crash can make it wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

PROC = Path("/proc")


class Seen(msgspec.Struct, frozen=True):
    """A process, by its id and the time of its start (in clock ticks since boot), which no later process shares."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return see(self.pid) == self


def see(pid: int) -> Seen | None:
    """The process of that id now; None when there is none or it is a zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Seen(pid, int(fields[19]))


def pids() -> Iterator[int]:
    """All process ids that this process can see."""
    return (int(name) for name in os.listdir(PROC) if name.isdecimal())


def command_line(pid: int) -> list[str]:
    """Its words; none when it is gone, a zombie or a kernel thread."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def inner_pids(pid: int) -> tuple[int, ...]:
    """Its ids in this and the process namespaces below."""
    try:
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return tuple(map(int, line.split()[1:]))
    except OSError:
        pass
    return ()


def namespace(pid: int, kind: str) -> str:
    """Which namespace of a kind (`pid`, `net`, …) it is in; empty when it is gone."""
    try:
        return os.readlink(PROC / str(pid) / "ns" / kind)
    except OSError:
        return ""
