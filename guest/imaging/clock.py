"""The processor's clock frequency, told to the guest's kernel so that it need not measure it.

Under emulation a kernel measures the time stamp counter (TSC) against an emulated timer. On a busy host that goes
wrong and the guest hangs at boot. An emulated guest sees the host's own TSC, so the host can say the figure.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import time
from pathlib import Path

MEASURE_S = 0.1
SAME_WITHIN = 0.001  # ratio; measured figures differ by a few millionths
# rdtsc; shl rdx, 32; or rax, rdx; ret
READ_TSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")


def tsc_khz() -> int:
    """Frequency of this machine's TSC in kHz.

    /proc/cpuinfo's "cpu MHz" is that figure in a virtual machine, but the momentary speed of a core on real
    hardware; so it is believed only if counting TSC ticks for a moment agrees, otherwise the count is taken.
    """
    counted = _count_khz()
    shown = re.search(r"^cpu MHz\s*:\s*([0-9.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    if shown and same(round(float(shown[1]) * 1000), counted):
        return round(float(shown[1]) * 1000)
    return counted


def _count_khz() -> int:
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(READ_TSC)
        buffer = ctypes.c_char.from_buffer(page)
        read_tsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(buffer))
        start_ns, start = time.monotonic_ns(), read_tsc()
        time.sleep(MEASURE_S)
        end_ns, end = time.monotonic_ns(), read_tsc()
        del buffer
    return round((end - start) * 1_000_000 / (end_ns - start_ns))


def same(one_khz: int, other_khz: int) -> bool:
    """Whether two figures describe the same clock."""
    return abs(one_khz - other_khz) <= SAME_WITHIN * one_khz


def kernel_arguments(khz: int, ticks_per_second: int) -> str:
    """The kernel's boot arguments for a TSC of `khz` and a timer of `ticks_per_second` (CONFIG_HZ).

    lpj is "loops per jiffy"; the kernel's delay loop counts TSC ticks once the TSC is trusted.
    """
    return f"tsc_early_khz={khz} lpj={khz * 1000 // ticks_per_second} tsc=reliable no_timer_check"
