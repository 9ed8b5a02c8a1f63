"""Real disks that misbehave on demand: a small one that can be filled, a file that is slow or hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

COMMAND_S = 60


class SmallDisk:
    """An ext4 file system of its own, mounted at `path`. Takes hardly any room itself, however full it is."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self._file = path.with_name(path.name + ".ext4")
        self._size = size_bytes
        self._ballast = path / "ballast"

    def __enter__(self) -> SmallDisk:
        self.path.mkdir(exist_ok=True)
        self._file.touch()
        os.truncate(self._file, self._size)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(self._file)], check=True, timeout=COMMAND_S)
        subprocess.run(["mount", "-o", "loop", str(self._file), str(self.path)], check=True, timeout=COMMAND_S)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True, timeout=COMMAND_S)
        self._file.unlink()

    @property
    def free(self) -> int:
        """Bytes."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leaving: int = 0) -> None:
        """Take all room but so many bytes. With 0, not even a byte can be written."""
        descriptor = os.open(self._ballast, os.O_CREAT | os.O_WRONLY)
        try:
            taken = os.fstat(descriptor).st_size
            for step in (2**24, 2**20, 2**16, 2**12):
                while self.free - step >= leaving:
                    try:
                        os.posix_fallocate(descriptor, taken, step)
                    except OSError:
                        break
                    taken += step
        finally:
            os.close(descriptor)

    def free_up(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


class SlowFile:
    """Puts a disk that is slow in the place of a file, with the same bytes: reads really wait.

    A storage daemon of QEMU offers the bytes as a file (FUSE), at no more than `bytes_per_s`.
    """

    def __init__(self, path: Path, bytes_per_s: int = 2**30) -> None:
        self._path = path
        self._bytes = path.with_name(path.name + ".bytes")
        self._speed = bytes_per_s
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SlowFile:
        self._path.rename(self._bytes)
        self._path.touch()
        inode = self._path.stat().st_ino
        self._daemon = subprocess.Popen([
            "qemu-storage-daemon", "--object", f"throttle-group,id=slow,x-bps-total={self._speed}",
            "--blockdev", f"driver=file,filename={self._bytes},node-name=file,read-only=on",
            "--blockdev", "driver=throttle,throttle-group=slow,file=file,node-name=disk,read-only=on",
            "--export", f"type=fuse,id=export,node-name=disk,mountpoint={self._path},writable=off",
        ])  # fmt: skip
        deadline = time.monotonic() + COMMAND_S
        while self._path.stat().st_ino == inode:
            assert self._daemon.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._daemon is not None
        self.go_on()
        self._daemon.terminate()
        self._daemon.wait(COMMAND_S)
        self._path.unlink()
        self._bytes.rename(self._path)

    def hang(self) -> None:
        """Reads wait from now on."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Reads are answered again."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGCONT)
