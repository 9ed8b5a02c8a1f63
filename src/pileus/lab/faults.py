"""What can go wrong, done on purpose."""

from __future__ import annotations

import contextlib
import os
import signal

from pileus.kernel.config import ConfigError
from pileus.lab import cloud_processes, engine_set, kernel_view
from pileus.lab.host_place import HostProcess
from pileus.lab.lab import SIDE_HOSTS, Lab

FREEZE_ROUNDS = 20  # a process may make another while we stop it


def kill(lab: Lab, host: str, name: str) -> list[int]:
    """SIGKILL a process of the cloud, or an engine with all of its processes. Returns their ids. RuntimeError when it
    does not run; ConfigError when the host has none of that name."""
    found = processes_of(lab, host, name)
    if not found:
        raise RuntimeError(f"{name} on {host} does not run")
    for process in found:
        process.kill()
    return [process.pid for process in found]


def cut(lab: Lab, host: str, network: str) -> None:
    """Pull a network's cable out of a host."""
    lab.switch.cut(host, lab.card(lab.host(host).name, network))


def heal(lab: Lab, host: str, network: str | None = None) -> list[str]:
    """Put the cable back; all cables of the host when no network is named. Returns the networks."""
    cards = lab.cards(lab.host(host).name) if network is None else [lab.card(host, network)]
    for card in cards:
        lab.switch.heal(host, card)
    return [card.network for card in cards]


def freeze(lab: Lab, host: str, name: str | None = None) -> int:
    """Stop a host's processes as a machine that hangs does (or those of one process or engine); guests stand still as
    well. Returns how many."""
    stopped: set[int] = set()
    for _ in range(FREEZE_ROUNDS):
        if not (new := set(_pids(lab, host, name)) - stopped):
            break
        _signal(new, signal.SIGSTOP)
        stopped |= new
    return len(stopped)


def thaw(lab: Lab, host: str, name: str | None = None) -> int:
    """Let them go on. Returns how many there are."""
    pids = _pids(lab, host, name)
    _signal(pids, signal.SIGCONT)
    return len(pids)


def power_off(lab: Lab, host: str) -> None:
    """End everything on a host at once. What it had not brought to its disk, the machine still has: a test of what
    survives a power cut needs more than this."""
    lab.host(host).end()


def processes_of(lab: Lab, host: str, name: str) -> list[HostProcess]:
    """The running processes of one of the cloud's processes, or of an engine. Raises ConfigError."""
    plan = lab.plan(host)
    if name in plan.engines:
        return list(engine_set.place(lab, host, name).started().values())
    if name in cloud_processes.names(lab, host):
        found = cloud_processes.find(lab, host, name)
        return [] if found is None else [found]
    there = ", ".join((*cloud_processes.names(lab, host), *plan.engines))
    raise ConfigError(f"host {host} has no process or engine {name!r}; it has {there}")


def _pids(lab: Lab, host: str, name: str | None) -> list[int]:
    if name is None or host in SIDE_HOSTS:
        lab.host(host).the_pid()
        return lab.host(host).processes()
    return [process.pid for process in processes_of(lab, host, name)]


def _signal(pids: set[int] | list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def is_frozen(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    try:
        return (kernel_view.PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
