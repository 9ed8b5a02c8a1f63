"""The cloud's own processes on a host: started, found again, by the ordinary commands."""

from __future__ import annotations

import sys
from pathlib import Path

from pileus.kernel.process import secrets
from pileus.lab.host_place import HostProcess
from pileus.lab.lab import Lab

COMMAND = (sys.executable, "-m", "pileus.cli.main")
WHOLE = "pileus"
"""The name of the one process of a whole cloud."""
START_TIMEOUT_S = 240.0
LOG_CHARS = 3_000


def names(lab: Lab, host: str) -> tuple[str, ...]:
    """The processes that a host of the cloud should have."""
    plan = lab.plan(host)
    return (WHOLE,) if plan.is_whole_cloud else tuple(plan.processes)


def start(lab: Lab, host: str) -> None:
    """Start what does not run; returns when all of it serves. RuntimeError with the end of the log."""
    lab.place(host, "log").run((*COMMAND, "up"), timeout_s=START_TIMEOUT_S)


def find(lab: Lab, host: str, name: str) -> HostProcess | None:
    """A process of a host that runs, however far it is."""
    file = lab.state_dir(host) / "run" / f"{name}.pid"
    words = file.read_text().split() if file.exists() else []
    seen = lab.host(host).process(int(words[-1])) if words and words[-1].isdecimal() else None
    return None if seen is None else HostProcess(seen)


def log_file(lab: Lab, host: str, name: str) -> Path:
    """What it writes."""
    return lab.state_dir(host) / "log" / f"{name}.log"


def admin_password(lab: Lab, host: str) -> str:
    """The cloud's administrator's, as a controller knows it."""
    return secrets.secret(lab.state_dir(host), secrets.ADMIN_PASSWORD)
