"""`python -m tests.lab.promises`: docs/operate/promises.md, from the figures that test_faults.py has written."""

from __future__ import annotations

import msgspec

from tests.lab.figures import PROMISES, Figures
from tests.lab.rehearsal import ROOT

PAGE = ROOT / "docs" / "operate" / "promises.md"
HEAD = """\
# What a fault costs: promises and figures

Written by `make promises` from runs of `tests/lab/test_faults.py` (in `make test-long`); do not edit it.

Three controllers and three compute hosts of `pileus lab` on one machine, under a steady load through the virtual
address: one boot and one delete a second, five lists a second over all APIs. Guests and wires are remembered only
(`fake` drivers); engines, processes, packets and databases are real. All hosts share the machine's processors with
the load.

Every row also means: each accepted request ended once (ACTIVE, ERROR with its fault, or gone as asked), every server
had one guest, one allocation and one port, after deleting all nothing was left, and `pileus verify` found nothing on
any host.

* **downtime**: the longest that somebody who asks an API for a list again and again waited for a good answer, from any
  moment on (and which API).
* **failed**: calls without a good answer, of all calls; what a client sees and may ask again.
* **recover**: seconds until boots were as fast again as before the fault; for faults that last, from their end.
* **in ERROR**: servers that were accepted and ended in ERROR, of all boots.

| promise | fault | downtime s | failed | recover s | in ERROR | run |
|---|---|---|---|---|---|---|
"""


def page(rows: list[Figures]) -> str:
    """The whole page."""
    lines = []
    for row in rows:
        kept = "" if row.limit_s is None else " ✓" if row.downtime_s <= row.limit_s else " **✗**"
        lines.append(
            f"| {row.promise}{kept} | {row.fault} | {row.downtime_s:.2f} ({row.api}) | {row.failed} of {row.calls} "
            f"| {row.recover_s:.1f} | {row.refused} of {row.boots} | {row.date} {row.tree}, {row.machine} |"
        )
    return HEAD + "\n".join(lines) + "\n"


def main() -> None:
    """Write it."""
    rows = [msgspec.json.decode(file.read_bytes(), type=Figures) for file in sorted(PROMISES.glob("*.json"))]
    PAGE.write_text(page(rows))
    print(f"{PAGE.relative_to(ROOT)}: {len(rows)} faults")


if __name__ == "__main__":
    main()
