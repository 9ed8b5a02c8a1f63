"""Does /dev/kvm really run guests? Found out by running one for a moment.

A device node proves nothing: some kernels offer KVM that only specially made guests can use, where ordinary
ones abort or hang. The probe boots a hand-made boot sector (kvm_probe.S, assembled below) with the same
processor model that guests get. It enters long mode with paging, takes three timer interrupts and reports
through QEMU's debug-exit device. On working KVM that takes about a tenth of a second, and two tenths even
under emulation, so a deadline of seconds is generous.

The answer is kept per boot of the host and QEMU version: neither changes without a restart of guests.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final, Literal

import msgspec

from pileus.kernel.host.command import CommandError, run
from pileus.services.compute.rpc import Acceleration

PROBE_TIMEOUT_S: Final = 2.5
VERSION_TIMEOUT_S: Final = 10.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_KVM: Final = Path("/dev/kvm")
_SUCCESS_EXIT_CODE: Final = 0x2A << 1 | 1  # isa-debug-exit makes the exit code from the byte written

_CODE: Final = bytes.fromhex(
    "fafc6631c08ed88ec08ed0bc0070bf0010b9000c66f3ab66c70600100320000066c70600200330000066c706003083000000"
    "0f20e00c200f22e066b8001000000f22d866b9800000c00f3280cc010f30660f0116087d0f20c0660d010000800f22c066ea"
    "6a7c00000800b8100000008ed88ec08ed0bc00700000bf00400000b900010000b8e57c0000668907c747020800008ec74706"
    "00000000c7470a0000000066c7470e000083c710e2d80f011c250e7d0000b011e620b020e621b004e621b001e621b0fee621"
    "b034e643b0a9e640b004e64031dbfbf483fb0372fafab02ae6f4f4ebfdffc3b020e62048cf0f1f000000000000000000ffff"
    "0000009aaf00ffff00000092cf001700f07c0000ff0f0040"
)
BOOT_SECTOR: Final = _CODE.ljust(510, b"\0") + b"\x55\xaa"


class _Kept(msgspec.Struct):
    boot_id: str
    qemu_version: str
    acceleration: Acceleration


async def find_acceleration(cache_file: Path, qemu: str = "qemu-system-x86_64") -> Acceleration:
    """kvm if a guest really runs on it, else tcg; with the reason. Raises CommandError when QEMU itself is
    missing."""
    version = (await run((qemu, "--version"), timeout_s=VERSION_TIMEOUT_S)).text.splitlines()[0]
    boot_id = _BOOT_ID.read_text().strip()
    if not _KVM.exists():
        return Acceleration("tcg", "this host has no /dev/kvm")
    kept = _read(cache_file)
    if kept is not None and (kept.boot_id, kept.qemu_version) == (boot_id, version):
        return kept.acceleration
    failure = await probe("kvm", "host", qemu=qemu)
    if failure is None:
        found = Acceleration("kvm", "a probe guest ran on /dev/kvm")
    else:
        found = Acceleration("tcg", f"/dev/kvm exists but does not run guests: {failure}")
    _write(cache_file, _Kept(boot_id, version, found))
    return found


async def probe(
    accelerator: Literal["kvm", "tcg"], cpu: str, *, qemu: str = "qemu-system-x86_64",
    timeout_s: float = PROBE_TIMEOUT_S,
) -> str | None:
    """Run the boot sector; None if it came through, else what happened. The process is gone when this
    returns."""
    with tempfile.NamedTemporaryFile(prefix="pileus-kvm-probe-") as disk:
        disk.write(BOOT_SECTOR)
        disk.flush()
        argv = (
            qemu, "-accel", accelerator, "-cpu", cpu, "-machine", "pc", "-m", "16", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
            "-drive", f"file={disk.name},format=raw,if=ide",
        )
        try:
            await run(argv, timeout_s=timeout_s, ok_codes=(_SUCCESS_EXIT_CODE,))
        except CommandError as error:
            if error.exit_code is None:
                return f"the probe guest did not finish within {timeout_s:g} s"
            last_line = (error.stderr.splitlines() or ["no message"])[0]
            return f"QEMU ended with code {error.exit_code}: {last_line}"
    return None


def _read(path: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None  # no answer yet, or a broken one: probe again


def _write(path: Path, kept: _Kept) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(kept))
    new.replace(path)
