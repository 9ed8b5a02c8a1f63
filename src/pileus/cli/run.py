"""`pileus run`: the cloud in the foreground."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import resource
import sys
from collections.abc import Iterable

from pileus.cli import daemon, processes
from pileus.cli.layout import Layout
from pileus.cli.processes import Process
from pileus.kernel.config import ConfigError
from pileus.kernel.host.command import CommandError
from pileus.kernel.observe import logs
from pileus.kernel.process import Node, buses, databases
from pileus.kernel.process.buses import is_local
from pileus.kernel.process.state_dir import make_state_dir
from pileus.services import discover, folders
from pileus.verify import hosts

OPEN_FILES = 65_536


def run(layout: Layout, roles: list[str] | None = None, *, when_told: bool = False) -> int:
    """Serve until SIGTERM or SIGINT. `roles`: only these; all defaults otherwise. when_told: load all code, then wait
    for a line on standard input; when that ends without one, do nothing."""
    prepare(layout, processes.whole(layout))
    if when_told and not _told(layout):
        return 0
    return asyncio.run(_main(layout, roles))


def prepare(layout: Layout, process: Process | None = None) -> None:
    """What every serving process does first. process: which of the host's it is, if it is one."""
    faulthandler.enable()  # a crash in a C library says in the log where it was
    logs.configure(layout.node.log_level, process.log_file if process is not None else None)
    _raise_open_files()
    os.umask(0o022)  # what is secret says so itself; libvirtd and dnsmasq, started from here, need the usual one
    _wait_for_children_without_threads()


def _told(layout: Layout) -> bool:
    """Everything that takes long and touches nothing, then wait."""
    discover()
    databases.load_drivers(layout.tables)
    buses.load_driver(layout.tables)
    return bool(sys.stdin.readline())


async def _main(layout: Layout, roles: list[str] | None) -> int:
    services = discover()
    refuse_unknown_tables(layout)
    make_state_dir(layout.state_dir)
    with daemon.only_process(processes.whole(layout)) as pid_file:
        node = await started(Node(layout.node, services, layout.tables), roles)
        daemon.announce(pid_file)
        await node.run_until_signalled()
    return 1 if node.failure else 0


async def started(node: Node, roles: Iterable[str] | None) -> Node:
    """Start it, or leave nothing of it."""
    try:
        await node.start(roles)
        if not is_local(node.tables):
            hosts.answer(node)
    except BaseException as error:
        await node.stop()
        if isinstance(error, CommandError):
            raise RuntimeError(f"{error} (see `pileus doctor`)") from error
        raise
    return node


def refuse_unknown_tables(layout: Layout) -> None:
    """A misspelt table would be overlooked. Raises ConfigError."""
    tables = {"node", "database", "bus", "cache", "endpoints", "processes"}
    known = {*tables, *(name.replace("_", "-") for name in folders())}
    if unknown := sorted(layout.tables.keys() - known):
        raise ConfigError(f"[{unknown[0]}] is no table of the configuration; there are {', '.join(sorted(known))}")


def _wait_for_children_without_threads() -> None:
    # Python 3.12 does so by itself; before, each child that agents run costs a thread.
    if sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


def _raise_open_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
