"""The moments at which a flow can be interrupted: before and after each line of its journal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from pileus.kernel.flows import Flow

ARMED = Path(__file__).with_name("armed")

Moment = Literal["before", "after"]


class Boundary(msgspec.Struct, frozen=True):
    """Just before, or right after, the commit of a journal line. `pids`: who dies; nobody named: the one who writes."""

    flow: str
    step: str
    event: str
    moment: Moment
    pids: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.moment} {self.flow}/{self.step} {self.event}"


def forward(flow: Flow) -> Iterator[Boundary]:
    """All boundaries of a flow that succeeds, in the order in which they come."""
    for step, event in [*((step.name, "done") for step in flow.steps), ("end", "done")]:
        yield Boundary(flow.name, step, event, "before")
        yield Boundary(flow.name, step, event, "after")


def backward(flow: Flow, failing: str) -> Iterator[Boundary]:
    """All boundaries of a flow whose step `failing` fails, from there back to the start."""
    names = [step.name for step in flow.steps]
    done = reversed(flow.steps[: names.index(failing) + 1])
    undone = [(step.name, "undone") for step in done if step.undo is not None]
    for step, event in [(failing, "failed"), *undone, ("end", "undone")]:
        yield Boundary(flow.name, step, event, "before")
        yield Boundary(flow.name, step, event, "after")


class Trap:
    """Where armed processes look for the line at which to die."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "kill-at.json"

    @property
    def environment(self) -> dict[str, str]:
        """What a process must be started with to be armed."""
        path = os.pathsep.join(filter(None, (str(ARMED), os.environ.get("PYTHONPATH"))))
        return {"PYTHONPATH": path, "PILEUS_TEST_KILL": str(self._file)}

    def arm(self, boundary: Boundary) -> None:
        """The next process that comes to this line dies there (once)."""
        new = self._file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(boundary))
        os.replace(new, self._file)

    @property
    def sprung(self) -> bool:
        """Whether it has happened."""
        return not self._file.exists()
