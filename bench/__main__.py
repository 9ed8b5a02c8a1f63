"""Run all measurements and print one table, with the peer's figures and the ratio."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

from bench import measure
from bench.cloud import BenchCloud
from bench.measure import Tenancy
from bench.peer import PEER


def main() -> None:
    """Start a cloud, measure, stop it."""
    print(_machine())
    print(f"\n{'what':<48} {'Pileus':>10} {'peer':>10} {'ratio':>8}")
    with tempfile.TemporaryDirectory() as directory:
        cloud = BenchCloud(Path(directory))
        try:
            cloud.start()
            for result in (*measure.idle(cloud), *measure.tokens(cloud), *measure.images(cloud)):
                _print(*result)
            tenancy = Tenancy(cloud)
            for step in (measure.ports, measure.servers):
                for result in step(cloud, tenancy):
                    _print(*result)
        finally:
            cloud.stop()


def _print(what: str, value: float) -> None:
    peer = PEER.get(what)
    columns = ("", "") if peer is None else (f"{peer:,.0f}", f"{peer / value:.1f} x" if value else "")
    print(f"{what:<48} {value:>10,.1f} {columns[0]:>10} {columns[1]:>8}", flush=True)


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if "model name" in line),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{os.cpu_count()} x {model}, {memory_gib:.0f} GiB, Linux {platform.release()}, Python "
        f"{platform.python_version()}; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
