"""Servers' directories on this host against servers in compute."""

from __future__ import annotations

from collections.abc import Iterator

from pileus.services.compute import states
from pileus.verify.checks.parts import read
from pileus.verify.evidence.compute import ServerRecord
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference

ROOT_DISK = "disk"


def without_row(evidence: Evidence) -> Iterator[Difference]:
    """Files of a server that is not there, or somewhere else."""
    servers = read(evidence.compute).servers
    for instance in read(evidence.disks).instances.values():
        server = servers.get(instance.server_id)
        if server is None:
            found = "compute: there is no such server"
        elif server.host != evidence.host and _rests(evidence, server):
            found = f"compute: the server is on {server.host or 'no host'}"
        else:
            continue
        names = ", ".join(sorted(instance.files)) or "nothing"
        yield Difference(
            resources={"server": instance.server_id}, host=evidence.host,
            says=f"{evidence.host}: its directory is there, with {names}", found=found,
        )  # fmt: skip


def missing(evidence: Evidence) -> Iterator[Difference]:
    """A server on this host without its directory, or without its disk. One in ERROR may never have had them."""
    instances = read(evidence.disks).instances
    for server in _resting_here(evidence):
        instance = instances.get(server.id)
        if instance is None:
            found = "it has no directory"
        elif evidence.has_real_disks and ROOT_DISK not in instance.files:
            found = "it has no root disk"
        else:
            continue
        yield Difference(
            resources={"server": server.id}, host=evidence.host,
            says=f"compute: the server is {states.status_of(server.vm_state, None)} on {evidence.host}",
            found=f"{evidence.host}: {found}", facts={"generation": server.generation},
        )  # fmt: skip


def base_missing(evidence: Evidence) -> Iterator[Difference]:
    """A server whose disk lies over a cached image that is gone: it cannot start again."""
    disks = read(evidence.disks)
    for server in _resting_here(evidence):
        instance = disks.instances.get(server.id)
        if instance is not None and instance.base is not None and instance.base not in disks.bases:
            yield Difference(
                resources={"server": server.id, "base": instance.base}, host=evidence.host,
                says=f"{evidence.host}: its disk lies over the cached image {instance.base}",
                found=f"{evidence.host}: there is no such cached image",
            )  # fmt: skip


def _rests(evidence: Evidence, server: ServerRecord) -> bool:
    return server.task_state is None and not evidence.at_work(server.id)


def _resting_here(evidence: Evidence) -> Iterator[ServerRecord]:
    for server in read(evidence.compute).servers.values():
        if server.host == evidence.host and server.vm_state != states.ERROR and _rests(evidence, server):
            yield server
