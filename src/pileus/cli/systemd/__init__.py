"""`pileus systemd`: the units of this host's processes. They are shipped beside this file; only the command differs."""

from __future__ import annotations

import subprocess
from importlib import resources
from pathlib import Path

from pileus.cli import processes
from pileus.cli.layout import Layout
from pileus.cli.processes import Process

UNIT_DIRECTORY = Path("/etc/systemd/system")
WANTS = "multi-user.target.wants"
SYSTEMD_RUNS = Path("/run/systemd/system")
RELOAD_TIMEOUT_S = 30.0
ONE, EACH = "pileus.service", "pileus@.service"


def show(layout: Layout) -> int:
    """Print the unit that `install` would write."""
    print(_unit(processes.configured(layout)[0]), end="")
    return 0


def install(layout: Layout, directory: Path, *, enable: bool) -> int:
    """Write the unit. enable: have exactly the configured processes started when the host boots."""
    wanted = processes.configured(layout)
    if not directory.is_dir():
        raise RuntimeError(f"there is no directory {directory}: is this a host with systemd?")
    unit = ONE if wanted[0].roles is None else EACH
    (directory / unit).write_text(_unit(wanted[0]))
    print(f"wrote     {directory / unit}")
    names = [name_of(process) for process in wanted]
    if enable:
        _enable(directory, unit, names)
    if directory == UNIT_DIRECTORY and SYSTEMD_RUNS.exists():
        subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=RELOAD_TIMEOUT_S)
    print(f"Start     systemctl start {' '.join(names)}")
    return 0


def _enable(directory: Path, unit: str, names: list[str]) -> None:
    wants = directory / WANTS
    wants.mkdir(exist_ok=True)
    for link in (*wants.glob("pileus@*.service"), wants / ONE):
        if link.is_symlink() and link.name not in names:
            link.unlink()
            print(f"disabled  {link.name}")
    for name in names:
        link = wants / name
        if not link.is_symlink():
            link.symlink_to(directory / unit)
            print(f"enabled   {name}")


def name_of(process: Process) -> str:
    """Of the unit that runs the process."""
    return ONE if process.roles is None else f"pileus@{process.name}.service"


def _unit(process: Process) -> str:
    unit = ONE if process.roles is None else EACH
    shipped = (resources.files(__name__) / unit).read_text()
    words = ["%i" if word == process.name else _quoted(word) for word in process.command]
    lines = (f"ExecStart={' '.join(words)}" if line.startswith("ExecStart=") else line for line in shipped.splitlines())
    return "\n".join(lines) + "\n"


def _quoted(word: str) -> str:
    """A word of a command line as systemd reads it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if escaped == word and " " not in word and "'" not in word else f'"{escaped}"'
