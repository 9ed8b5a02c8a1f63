"""Secrets where others can read them."""

from __future__ import annotations

from collections.abc import Iterator

from pileus.verify.checks.parts import read
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference


def in_log(evidence: Evidence) -> Iterator[Difference]:
    """A token, password or private key in a log."""
    for leak in read(evidence.leaks):
        yield Difference(
            resources={"file": leak.path, "secret": leak.secret}, host=evidence.host,
            says=f"{evidence.host}: a {leak.secret} must be known to nobody but its users",
            found=f"{evidence.host}: {leak.path} has it {leak.times} times",
        )  # fmt: skip


def world_readable(evidence: Evidence) -> Iterator[Difference]:
    """A file with a secret that every user of the host can read."""
    for item in read(evidence.exposed):
        yield Difference(
            resources={"file": item.path}, host=evidence.host, says=f"{evidence.host}: the file holds {item.content}",
            found=f"{evidence.host}: everybody may read it (mode {item.mode:04o})",
        )  # fmt: skip
