"""`pileus serve ROLE…`: some roles of a cloud as a process of their own, in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from pileus.cli import daemon, processes, run
from pileus.cli.layout import Layout
from pileus.cli.processes import Process
from pileus.kernel.config import ConfigError
from pileus.kernel.process import Node, Role, Service
from pileus.kernel.process.buses import is_local
from pileus.kernel.process.state_dir import make_state_dir
from pileus.services import discover, discover_for

log = logging.getLogger(__name__)


class UnknownRole(ValueError):
    """A role of that name does not exist."""


def show_roles() -> int:
    """Print every role with a sentence."""
    roles = [role for service in discover() for role in service.roles]
    width = max(len(role.name) for role in roles)
    for role in roles:
        print(f"{role.name:<{width}}  {role.about}")
    return 0


def serve_process(layout: Layout, name: str) -> int:
    """Serve a process of table [processes] until SIGTERM or SIGINT. Raises ConfigError when there is none such."""
    process = processes.named(layout, name)
    return serve(process.layout, process.roles or (), None, process)


def serve(layout: Layout, names: Sequence[str], port: int | None, process: Process | None = None) -> int:
    """Serve the roles until SIGTERM or SIGINT; 2 when one does not exist. process: which of the host's this is."""
    services = discover_for(names)
    try:
        chosen = _roles(services, names)
    except UnknownRole as error:
        print(f"pileus: {error}", file=sys.stderr)
        return 2
    if is_local(layout.tables):
        raise ConfigError(
            'roles in processes of their own need a message broker: set [bus] url = "amqp://user:password@host:5672/" '
            "(`pileus run` runs all roles in one process and needs none)"
        )
    if port is not None:
        layout = msgspec.structs.replace(layout, node=msgspec.structs.replace(layout.node, port=port))
    run.prepare(layout, process)
    return asyncio.run(_main(layout, services, chosen, process))


def _roles(services: Sequence[Service], names: Sequence[str]) -> tuple[Role, ...]:
    known = {role.name: role for service in services for role in service.roles}
    if unknown := [name for name in names if name not in known]:
        all_names = sorted(role.name for service in discover() for role in service.roles)
        raise UnknownRole(f"there is no role {unknown[0]!r}; there are {', '.join(all_names)}")
    return tuple(known[name] for name in dict.fromkeys(names))


async def _main(
    layout: Layout, services: Sequence[Service], chosen: Sequence[Role], process: Process | None
) -> int:
    run.refuse_unknown_tables(layout)
    make_state_dir(layout.state_dir)
    named = contextlib.nullcontext() if process is None else daemon.only_process(process)
    with named as own_file, _only_roles(layout, chosen) as pid_files:
        node = await run.started(Node(layout.node, services, layout.tables), [role.name for role in chosen])
        names = ",".join(role.name for role in chosen)
        where = layout.node.url if any(role.is_api for role in chosen) else "none"
        log.info("serving roles=%s host=%s url=%s pid=%d", names, layout.node.host, where, os.getpid())
        for file in pid_files:
            file.write_text(f"{os.getpid()}\n")
        if own_file is not None:
            daemon.announce(own_file)
        await node.run_until_signalled()
        for file in pid_files:
            file.write_text("")
    return 1 if node.failure else 0


@contextlib.contextmanager
def _only_roles(layout: Layout, chosen: Sequence[Role]) -> Iterator[list[Path]]:
    """Hold each role's pid file: a role runs once per host, an API once per port, none beside the one-process cloud."""
    layout.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.ExitStack() as held:
        whole = held.enter_context(processes.whole(layout).pid_file.open("ab"))
        _lock(whole.fileno(), fcntl.LOCK_SH, f"a process of the cloud in {layout.state_dir} runs all roles already")
        files = [pid_file(layout, role) for role in chosen]
        for role, path in zip(chosen, files, strict=True):
            file = held.enter_context(path.open("ab"))
            _lock(file.fileno(), fcntl.LOCK_EX, f"{role.name} runs already on {layout.node.host} (see {path})")
            file.truncate(0)
        yield files


def pid_file(layout: Layout, role: Role) -> Path:
    """The file with the id of the process that runs a role here; empty while it starts."""
    where = f"{layout.node.host}:{layout.node.port}" if role.is_api else layout.node.host
    return layout.run_dir / f"{role.name}@{where}.pid"


def _lock(descriptor: int, kind: int, refusal: str) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError(refusal) from None
