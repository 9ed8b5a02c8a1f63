"""Everything that was read at one moment, on every host that answers, and what could not be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from pileus.kernel.bus import Bus
from pileus.kernel.db import Database, Tx
from pileus.kernel.process.manifest import Service
from pileus.verify import hosts
from pileus.verify.evidence import compute, flows, identity, image, network, placement
from pileus.verify.evidence import host as this_host
from pileus.verify.evidence.host import FAILURES, HostRecords, Problem, attempt, words_of
from pileus.verify.installation import CouldNotLook, Installation

HOST_PARTS = frozenset({*this_host.PARTS, "desired"})
"""What each host has of its own; the rest is the cloud's."""
AT_ONCE = 8  # hosts that are looked at at the same time


class Evidence(HostRecords, kw_only=True):
    """One look, at the cloud and at one of its hosts. A part that could not be read, or does not exist with these
    drivers, is None.

    flows: of the services in `flows_read`. busy: ids of what they work on. upload_stale_s: see the image service's
    configuration. elsewhere: the same for each other host.
    """

    at: datetime
    host: str
    cloud: str
    compute: compute.ComputeRecords | None = None
    placement: placement.PlacementRecords | None = None
    identity: identity.IdentityRecords | None = None
    image: image.ImageRecords | None = None
    network: network.NetworkRecords | None = None
    desired: network.DesiredHost | None = None
    flows: list[flows.FlowRecord] = msgspec.field(default_factory=list)
    flows_read: set[str] = msgspec.field(default_factory=set)
    busy: set[str] = msgspec.field(default_factory=set)
    upload_stale_s: float = 0.0
    has_real_disks: bool = False
    elsewhere: list[Evidence] = msgspec.field(default_factory=list)

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
                self.problems.append(Problem(f"database of {service.type}", words_of(error)))

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


async def look(installation: Installation, databases: Databases, bus: Bus | None = None) -> Evidence:
    """Read everything that can be read now. bus: over which other hosts are asked; None: they are not."""
    evidence = Evidence(
        at=datetime.now(UTC), host=installation.node.host, cloud=installation.node.cloud,
        problems=list(databases.problems), upload_stale_s=installation.image.upload_stale_s,
        has_real_disks=installation.has_real_guests,
    )  # fmt: skip
    await _read_databases(installation, databases, evidence)
    seen = await this_host.look(installation)
    evidence.problems += seen.problems
    _take(evidence, seen)
    await _read_desired(installation, databases, evidence)
    gate = asyncio.Semaphore(AT_ONCE)
    others = sorted(_hosts(evidence) - {evidence.host})
    found = await asyncio.gather(*(_look_at(name, evidence, installation, databases, bus, gate) for name in others))
    evidence.elsewhere = [item for item in found if item is not None]
    return evidence


def each_host(evidence: Evidence) -> Iterator[Evidence]:
    """The look at every host, the command's own first."""
    yield evidence
    yield from evidence.elsewhere


async def _look_at(
    name: str, evidence: Evidence, installation: Installation, databases: Databases, bus: Bus | None,
    gate: asyncio.Semaphore,
) -> Evidence | None:  # fmt: skip
    if bus is None:
        evidence.problems.append(Problem(f"host {name}", "only the host that verify runs on is looked at"))
        return None
    async with gate:
        seen = await attempt(evidence.problems, f"host {name}", lambda: hosts.ask(bus, name))
    if seen is None:
        return None
    evidence.problems += [Problem(f"{problem.part} of host {name}", problem.reason) for problem in seen.problems]
    there = msgspec.structs.replace(evidence, host=name, elsewhere=[])
    _take(there, seen)
    await _read_desired(installation, databases, there)
    return there


def _take(evidence: Evidence, seen: HostRecords) -> None:
    for part in this_host.PARTS:
        setattr(evidence, part, getattr(seen, part))


def _hosts(evidence: Evidence) -> set[str]:
    """All that the cloud knows by their agents."""
    found = set(evidence.compute.hypervisors) if evidence.compute is not None else set()
    return found | (evidence.network.hosts if evidence.network is not None else set())


READERS: dict[str, Callable[[Tx], Any]] = {
    "compute": compute.read, "placement": placement.read, "identity": identity.read, "image": image.read,
    "network": network.read,
}  # fmt: skip


async def _read_databases(installation: Installation, databases: Databases, evidence: Evidence) -> None:
    for service in installation.services.values():
        if service.type in databases:
            words, read = f"database of {service.type}", databases[service.type].read
            found = await attempt(evidence.problems, words, lambda s=service, read=read: read(_read_service, s))
            if found is not None:
                _keep(evidence, service, *found)


async def _read_desired(installation: Installation, databases: Databases, evidence: Evidence) -> None:
    evidence.desired = None
    if "network" in databases:
        read, arguments = databases["network"].read, (installation.fabric(), evidence.host)
        words = f"network of {evidence.host}"
        evidence.desired = await attempt(
            evidence.problems, words, lambda: read(network.read_desired, *arguments)
        )


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
