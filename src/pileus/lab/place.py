"""Where an engine runs: the little that it must know of its host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Started(Protocol):
    """A long-running process."""

    @property
    def pid(self) -> int:
        """Its process id, as the caller sees it."""
        ...

    def alive(self) -> bool:
        """Whether it runs; a zombie does not."""
        ...

    def kill(self) -> None:
        """SIGKILL; returns when it is gone. Fine when it was gone before."""
        ...

    def stop(self, timeout_s: float) -> None:
        """SIGTERM; SIGKILL when it has not ended in time. Fine when it was gone before."""
        ...


class Place(Protocol):
    """A host as an engine sees it. name: the host's. address: on the management network. directory: the engine's own
    on that host, for data, settings and logs; the same path inside and outside."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str: ...

    @property
    def directory(self) -> Path: ...

    def start(
        self, argv: Sequence[str], *, log: Path, user: str | None = None, env: Mapping[str, str] | None = None
    ) -> Started:
        """Start a program there that stays. log: gets what it writes. user: who it runs as (None: root). env: over the
        usual variables. RuntimeError when it cannot be started."""
        ...

    def run(
        self, argv: Sequence[str], *, timeout_s: float, input: str | None = None, user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program there to its end and return what it wrote. RuntimeError with the end of its output when it
        fails or is not done in time."""
        ...
