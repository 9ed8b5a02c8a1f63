"""Everything that was read at one moment, and what could not be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from pileus.kernel.config import ConfigError
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import ServiceError
from pileus.kernel.host.command import CommandError
from pileus.kernel.process.manifest import Service
from pileus.services.compute.drivers.hypervisor.interface import HypervisorError
from pileus.verify.evidence import compute, dhcp, disks, flows, guests, identity, image, kernel, network, placement
from pileus.verify.evidence import secrecy as secrets
from pileus.verify.installation import CouldNotLook, Installation

FAILURES = (
    CouldNotLook, SQLAlchemyError, OSError, CommandError, HypervisorError, ConfigError, ServiceError, ImportError,
)  # fmt: skip
"""What a part that cannot be read ends with."""


class Problem(msgspec.Struct, frozen=True):
    """A part that could not be compared, and why."""

    part: str
    reason: str


class Evidence(msgspec.Struct, kw_only=True):
    """One look. A part that could not be read, or does not exist with these drivers, is None.

    flows: of the services in `flows_read`. busy: ids of what they work on. upload_stale_s: see the image service's
    configuration.
    """

    at: datetime
    host: str
    cloud: str
    problems: list[Problem] = []
    compute: compute.ComputeRecords | None = None
    placement: placement.PlacementRecords | None = None
    identity: identity.IdentityRecords | None = None
    image: image.ImageRecords | None = None
    network: network.NetworkRecords | None = None
    desired: network.DesiredHost | None = None
    flows: list[flows.FlowRecord] = []
    flows_read: set[str] = set()
    busy: set[str] = set()
    kernel: kernel.KernelRecords | None = None
    dhcp: dict[str, dhcp.DhcpRecord] | None = None
    guests: dict[str, guests.GuestRecord] | None = None
    processes: dict[str, int] | None = None
    disks: disks.DiskRecords | None = None
    objects: dict[str, disks.ObjectRecord] | None = None
    leaks: tuple[secrets.LeakRecord, ...] | None = None
    exposed: tuple[secrets.ExposedRecord, ...] | None = None
    physical_networks: dict[str, str] = {}
    upload_stale_s: float = 0.0
    has_real_disks: bool = False

    def has(self, part: str) -> bool:
        """Whether a part was read."""
        return getattr(self, part) is not None

    def at_work(self, resource_id: str) -> bool:
        """Whether a flow is under way for the resource: it is in motion, and its flow answers for it."""
        return resource_id in self.busy


class Databases:
    """The databases of an installation, opened once and looked into as often as needed."""

    def __init__(self, installation: Installation) -> None:
        self.problems: list[Problem] = []
        self._open: dict[str, Database] = {}
        for service in installation.services.values():
            if service.db is None:
                continue
            try:
                self._open[service.type] = installation.open_database(service)
            except FAILURES as error:
                self.problems.append(Problem(f"database of {service.type}", _words(error)))

    def __getitem__(self, service: str) -> Database:
        """Raises CouldNotLook."""
        if service not in self._open:
            raise CouldNotLook(f"the database of {service} is not open")
        return self._open[service]

    def __contains__(self, service: str) -> bool:
        return service in self._open

    def close(self) -> None:
        """Let go of all."""
        for database in self._open.values():
            database.close()


async def look(installation: Installation, databases: Databases) -> Evidence:
    """Read everything that can be read now."""
    evidence = Evidence(
        at=datetime.now(UTC), host=installation.node.host, cloud=installation.node.cloud,
        problems=list(databases.problems), physical_networks=dict(installation.network.physical_networks),
        upload_stale_s=installation.image.upload_stale_s, has_real_disks=installation.has_real_guests,
    )  # fmt: skip
    await _read_databases(installation, databases, evidence)
    await _read_host(installation, evidence)
    if evidence.compute is not None:
        _name_other_hosts(installation, evidence)
    return evidence


READERS: dict[str, Callable[[Tx], Any]] = {
    "compute": compute.read, "placement": placement.read, "identity": identity.read, "image": image.read,
    "network": network.read,
}  # fmt: skip


async def _read_databases(installation: Installation, databases: Databases, evidence: Evidence) -> None:
    for service in installation.services.values():
        if service.type in databases:
            found = await _try(
                evidence, f"database of {service.type}", lambda s=service: databases[s.type].read(_read_service, s)
            )  # fmt: skip
            if found is not None:
                _keep(evidence, service, *found)
    if "network" in databases:
        arguments = (installation.fabric(), installation.node.host)
        read = network.read_desired
        await _part(evidence, "desired", "network of this host", lambda: databases["network"].read(read, *arguments))


def _read_service(tx: Tx, service: Service) -> tuple[Any, tuple[flows.FlowRecord, ...]]:
    """One transaction: rows and the flows that work on them must be of the same moment."""
    reader, store = READERS.get(service.type), service.flow_store
    known = frozenset((flow.name, flow.version) for flow in service.flows)
    under_way = () if store is None else flows.read(tx, store, service.type, known)
    return None if reader is None else reader(tx), under_way


def _keep(evidence: Evidence, service: Service, records: Any, under_way: tuple[flows.FlowRecord, ...]) -> None:
    if service.type in READERS:
        setattr(evidence, service.type, records)
    if service.flow_store is not None:
        evidence.flows += under_way
        evidence.busy |= {flow.resource_id for flow in under_way}
        evidence.flows_read.add(service.type)


async def _read_host(installation: Installation, evidence: Evidence) -> None:
    instances = installation.guests_dir / "instances"
    real = installation.has_real_guests or installation.has_real_networks
    if real and os.geteuid() != 0:
        evidence.problems.append(Problem("this host", "only root can look at devices, rules, guests and processes"))
        return
    if installation.has_real_networks:
        await _part(evidence, "kernel", "network of the kernel", lambda: kernel.read(installation.ownership))
        await _part(evidence, "dhcp", "dnsmasq", lambda: asyncio.to_thread(dhcp.read, installation.dhcp_dir))
    if installation.has_real_guests:
        await _part(evidence, "guests", "hypervisor", lambda: guests.read_guests(installation.node.cloud))
        await _part(evidence, "processes", "processes", lambda: guests.read_processes(instances))
    await _part(evidence, "disks", "disks", lambda: asyncio.to_thread(disks.read, installation.guests_dir))
    if installation.image.store == "file":
        await _part(
            evidence, "objects", "image store", lambda: asyncio.to_thread(disks.read_objects, installation.store_dir)
        )
    await _part(evidence, "leaks", "logs", lambda: asyncio.to_thread(secrets.read_leaks, installation))
    await _part(evidence, "exposed", "file modes", lambda: asyncio.to_thread(secrets.read_exposed, installation))


def _name_other_hosts(installation: Installation, evidence: Evidence) -> None:
    assert evidence.compute is not None
    if not installation.has_real_guests:
        return
    for host in sorted(evidence.compute.hypervisors.keys() - {evidence.host}):
        evidence.problems.append(Problem(f"host {host}", "only the host that verify runs on is looked at"))


async def _part(evidence: Evidence, name: str, words: str, read: Callable[[], Awaitable[Any]]) -> None:
    setattr(evidence, name, await _try(evidence, words, read))


async def _try(evidence: Evidence, words: str, read: Callable[[], Awaitable[Any]]) -> Any:
    try:
        return await read()
    except FAILURES as error:
        evidence.problems.append(Problem(words, _words(error)))
        return None


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
