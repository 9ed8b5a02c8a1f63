"""Run all measurements and print one table, with the peer's figures and the ratio."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import measure
from bench.cloud import BenchCloud
from bench.measure import Tenancy, machine
from bench.peer import PEER


def main() -> None:
    """Start a cloud, measure, stop it."""
    print(machine())
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


if __name__ == "__main__":
    main()
