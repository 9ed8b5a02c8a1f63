"""A power cut for a private host: nothing that only memory held is left, on the disk only what was synced.

The state directory lies in a file system of its own (ext4 on a loop device). At the cut all processes end at once and
the file system is shut down without writing anything more, as its own crash tests do; mounted again, it replays its
journal. What was written but never synced is gone, as after a real cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.scenario.cloud.installation import run, wait_for
from tests.scenario.kills.scene import DEATH_LIMIT_S, has_ended

DISK_BYTES = 4 * 2**30  # sparse
SHUT_DOWN = 0x8004587D  # _IOR('X', 125, __u32)
WITHOUT_WRITING = struct.pack("I", 2)


class PoweredHost:
    """This private host, whose disk is mounted at `directory`."""

    def __init__(self, directory: Path) -> None:
        self.disk = directory.with_name(directory.name + ".img")
        self.directory = directory
        directory.mkdir(exist_ok=True)
        with self.disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        run("mkfs.ext4", "-q", "-F", str(self.disk))
        self._mount()

    def _mount(self) -> None:
        run("mount", "-o", "loop", str(self.disk), str(self.directory))

    def cut(self) -> None:
        """The power goes, and comes back: the host is as after its boot, before anything was started."""
        pids = list(_others())
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUT_DOWN, WITHOUT_WRITING)
        finally:
            os.close(descriptor)
        wait_for("the end of all processes", lambda: all(has_ended(pid) for pid in pids), DEATH_LIMIT_S)
        _forget_memory()
        wait_for("the disk unmounted", self._unmounted, DEATH_LIMIT_S)
        self._mount()

    def _unmounted(self) -> bool:
        return subprocess.run(["umount", str(self.directory)], capture_output=True).returncode == 0


def _others() -> Iterator[int]:
    """All processes of this host (a process namespace of its own) but its first, and this one with its parents."""
    mine, pid = {1}, os.getpid()
    while pid > 1:
        mine.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return (pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if pid not in mine)


def _unmounted_below_run() -> bool:
    """One round. What cannot be unmounted is out of sight: on the machine's own /run, below this host's."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    below = [point for point in reversed(points) if point.startswith("/run/")]
    return not any([run("umount", "-l", point, check=False).returncode == 0 for point in below])


def _forget_memory() -> None:
    """Network devices, namespaces, rules and /run."""
    for name in run("ip", "netns").stdout.split("\n"):
        if name.strip():
            run("ip", "netns", "delete", name.split()[0])
    run("nft", "flush", "ruleset")
    for _ in range(2):  # the end of one may take its other end along
        for line in run("ip", "-o", "link").stdout.splitlines():
            name = line.split(":")[1].strip().split("@")[0]
            if name != "lo":
                run("ip", "link", "delete", name, check=False)
    run("sysctl", "-q", "-w", "net.ipv4.ip_forward=0")
    wait_for("nothing mounted below /run", _unmounted_below_run, DEATH_LIMIT_S)
    for entry in Path("/run").iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    left = [line.split(":")[1].strip() for line in run("ip", "-o", "link").stdout.splitlines()]
    assert left == ["lo"], left
