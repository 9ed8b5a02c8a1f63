"""Guests that run on this host against servers in compute."""

from __future__ import annotations

from collections.abc import Iterator

from pileus.services.compute import states
from pileus.verify.checks.parts import read
from pileus.verify.evidence.compute import ServerRecord
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference


def _here(evidence: Evidence) -> dict[str, str]:
    """Every guest of the cloud on this host, in words, by server."""
    guests, processes = read(evidence.guests), read(evidence.processes)
    found = {
        guest.server_id: f"guest {guest.name}, {'running' if guest.is_active else 'stopped'}"
        for guest in guests.values()
    }
    for server_id, pid in processes.items():
        found[server_id] = f"{found.get(server_id, 'no guest that libvirt knows')}, process {pid}"
    return found


def without_row(evidence: Evidence) -> Iterator[Difference]:
    """A guest of a server that is not there: it holds memory and addresses for nobody."""
    servers = read(evidence.compute).servers
    for server_id, words in _here(evidence).items():
        if server_id not in servers:
            yield Difference(
                resources={"server": server_id}, host=evidence.host, says=f"{evidence.host}: {words}",
                found="compute: there is no such server",
            )  # fmt: skip


def on_wrong_host(evidence: Evidence) -> Iterator[Difference]:
    """A guest of a server that is somewhere else: it may run twice."""
    servers = read(evidence.compute).servers
    for server_id, words in _here(evidence).items():
        server = servers.get(server_id)
        if server is not None and _rests(evidence, server) and server.host != evidence.host:
            yield Difference(
                resources={"server": server_id}, host=evidence.host, says=f"{evidence.host}: {words}",
                found=f"compute: the server is on {server.host or 'no host'}",
            )  # fmt: skip


def missing(evidence: Evidence) -> Iterator[Difference]:
    """A server that users see as running, and does not run."""
    for server in _resting_here(evidence):
        if server.vm_state == states.ACTIVE and not _runs(evidence, server.id):
            yield Difference(
                resources={"server": server.id}, host=evidence.host,
                says="compute: the server is ACTIVE",
                found=f"{evidence.host}: {_here(evidence).get(server.id, 'no guest')}",
                facts={"generation": server.generation},
            )  # fmt: skip


def running_though_stopped(evidence: Evidence) -> Iterator[Difference]:
    """A server that users see as stopped, and runs."""
    for server in _resting_here(evidence):
        if server.vm_state == states.STOPPED and _runs(evidence, server.id):
            yield Difference(
                resources={"server": server.id}, host=evidence.host,
                says="compute: the server is SHUTOFF",
                found=f"{evidence.host}: {_here(evidence).get(server.id)}",
                facts={"generation": server.generation},
            )  # fmt: skip


def _rests(evidence: Evidence, server: ServerRecord) -> bool:
    return server.task_state is None and not evidence.at_work(server.id)


def _resting_here(evidence: Evidence) -> Iterator[ServerRecord]:
    for server in read(evidence.compute).servers.values():
        if server.host == evidence.host and _rests(evidence, server):
            yield server


def _runs(evidence: Evidence, server_id: str) -> bool:
    guest = read(evidence.guests).get(server_id)
    return (guest is not None and guest.is_active) or server_id in read(evidence.processes)
