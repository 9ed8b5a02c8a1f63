"""qemu-img, fenced: every format is explicit, every call has limits on memory, processor time, files and wall
time.

Nothing here lets the tool guess: a guest may have written any header into its own disk (CVE-2026-24708 and
its ancestors). Failures are `CommandError`; a call that ran into a limit of the operating system fails the
same way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import msgspec

from .command import Completed, run

Format = Literal["raw", "qcow2", "vmdk", "vhd", "vdi"]

# Measured with QEMU 7.2: `convert` needs 512 MiB, `info` and `check` 128, also for a header that claims 2 PiB. On a
# slow disk `convert` starts up to 64 threads, whose stacks and heaps are address space, no memory: 1 GiB is too little.
MAX_ADDRESS_SPACE_BYTES: Final = 4 * 2**30
MAX_OPEN_FILES: Final = 64
QUICK_TIMEOUT_S: Final = 30.0
QUICK_CPU_S: Final = 10
CONVERT_TIMEOUT_S: Final = 1800.0
CONVERT_CPU_S: Final = 1200

_TOOL_NAMES: Final = {"vhd": "vpc"}


_INFO_KEYS: Final = {
    "image_format": "format",
    "virtual_size": "virtual-size",
    "actual_size": "actual-size",
    "backing_file": "full-backing-filename",
    "backing_format": "backing-filename-format",
}


class DiskInfo(msgspec.Struct, frozen=True, rename=_INFO_KEYS):
    """What `qemu-img info` says. Sizes in bytes; `actual_size` is what the file occupies."""

    image_format: str
    virtual_size: int
    actual_size: int = 0
    backing_file: str | None = None
    backing_format: str | None = None


async def info(path: Path, image_format: Format, *, in_use: bool = False) -> DiskInfo:
    """Read the header of a disk. `in_use`: read although a running guest holds the lock (the sizes may be
    moving)."""
    share = ("-U",) if in_use else ()
    done = await _quick("info", *share, "-f", _tool_name(image_format), "--output=json", _plain(path))
    return msgspec.json.decode(done.stdout, type=DiskInfo)


async def create(path: Path, size_bytes: int) -> None:
    """Make an empty qcow2 disk."""
    await _quick("create", "-q", "-f", "qcow2", _plain(path), str(size_bytes))


async def create_overlay(path: Path, base: Path, base_format: Format, size_bytes: int) -> None:
    """Make a thin qcow2 disk over `base`, which is never written. `size_bytes` must not be below the base's
    virtual size."""
    below = ("-F", _tool_name(base_format), "-b", _plain(base))
    await _quick("create", "-q", "-f", "qcow2", *below, _plain(path), str(size_bytes))


async def resize(path: Path, image_format: Format, size_bytes: int) -> None:
    """Grow a disk that no guest uses. Shrinking is refused by the tool."""
    await _quick("resize", "-q", "-f", _tool_name(image_format), _plain(path), str(size_bytes))


async def convert(source: Path, source_format: Format, target: Path, target_format: Format) -> None:
    """Copy a disk into another format; zeros stay holes, compressed clusters are unpacked. The source must
    have passed the gate."""
    formats = ("-f", _tool_name(source_format), "-O", _tool_name(target_format))
    files = (_plain(source), _plain(target))
    await _limited(CONVERT_CPU_S, CONVERT_TIMEOUT_S, "convert", "-q", "-t", "writeback", *formats, *files)


async def check(path: Path, image_format: Format) -> bool:
    """Whether the disk's own structures are consistent. Leaked clusters, which only waste space, count as
    consistent."""
    leaked_only = 3
    command = ("check", "-q", "-f", _tool_name(image_format), _plain(path))
    done = await _limited(CONVERT_CPU_S, CONVERT_TIMEOUT_S, *command, ok_codes=(0, 2, leaked_only))
    return done.exit_code in (0, leaked_only)


async def _quick(*arguments: str) -> Completed:
    return await _limited(QUICK_CPU_S, QUICK_TIMEOUT_S, *arguments)


async def _limited(cpu_s: int, timeout_s: float, *arguments: str, ok_codes: tuple[int, ...] = (0,)) -> Completed:
    limits = (f"--as={MAX_ADDRESS_SPACE_BYTES}", f"--cpu={cpu_s}", f"--nofile={MAX_OPEN_FILES}", "--core=0")
    return await run(("prlimit", *limits, "--", "qemu-img", *arguments), timeout_s=timeout_s, ok_codes=ok_codes)


def _tool_name(image_format: str) -> str:
    return _TOOL_NAMES.get(image_format, image_format)


def _plain(path: Path) -> str:
    """A file name that the tool cannot take for a protocol, an option or a JSON description."""
    if not path.is_absolute():
        raise ValueError(f"{path} is not an absolute path")
    return str(path)
