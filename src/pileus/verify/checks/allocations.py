"""Claims in placement against servers in compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from pileus.services.compute import states
from pileus.services.compute.clients.placement import INSTANCE
from pileus.verify.checks.parts import read
from pileus.verify.evidence.compute import ServerRecord
from pileus.verify.evidence.placement import ConsumerRecord
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference


def without_server(evidence: Evidence) -> Iterator[Difference]:
    """A claim of a server that is not there. Consumers of other types belong to others."""
    servers = read(evidence.compute).servers
    for consumer in read(evidence.placement).consumers.values():
        if consumer.consumer_type == INSTANCE and consumer.allocations and consumer.uuid not in servers:
            yield Difference(
                resources={"consumer": consumer.uuid},
                says=f"placement: it has {_amounts(_total(consumer))} from {', '.join(sorted(consumer.allocations))}",
                found="compute: there is no such server",
            )


def _resting(evidence: Evidence) -> Iterator[ServerRecord]:
    """Servers on a host with nothing done to them: what they have must be what they need."""
    for server in read(evidence.compute).servers.values():
        if server.host is not None and server.task_state is None and not evidence.at_work(server.id):
            yield server


def missing(evidence: Evidence) -> Iterator[Difference]:
    """A server on a host that claims nothing: its room will be given to others."""
    consumers = read(evidence.placement).consumers
    for server in _resting(evidence):
        consumer = consumers.get(server.id)
        if consumer is None or not consumer.allocations:
            yield Difference(
                resources={"server": server.id}, host=server.host or "",
                says=f"compute: the server is {states.status_of(server.vm_state, None)} on {server.host}",
                found="placement: it has claimed nothing",
            )  # fmt: skip


def wrong_size(evidence: Evidence) -> Iterator[Difference]:
    """A server that claims something else than its flavor says, or elsewhere than where it is."""
    placement = read(evidence.placement)
    for server in _resting(evidence):
        consumer = placement.consumers.get(server.id)
        if consumer is None or not consumer.allocations:
            continue
        hypervisor = read(evidence.compute).hypervisors.get(server.host or "")
        roots = {placement.providers[uuid].root_uuid for uuid in consumer.allocations if uuid in placement.providers}
        elsewhere = hypervisor is not None and roots != {hypervisor.uuid}
        if elsewhere or _total(consumer) != server.needs:
            yield Difference(
                resources={"server": server.id}, host=server.host or "",
                says=f"compute: its flavor needs {_amounts(server.needs)} on {server.host}",
                found=f"placement: it has {_amounts(_total(consumer))} from {', '.join(sorted(consumer.allocations))}",
            )  # fmt: skip


def over_inventory(evidence: Evidence) -> Iterator[Difference]:
    """More given out than there is."""
    placement = read(evidence.placement)
    used: Counter[tuple[str, str]] = Counter()
    for consumer in placement.consumers.values():
        for uuid, amounts in consumer.allocations.items():
            for name, amount in amounts.items():
                used[uuid, name] += amount
    for (uuid, name), amount in sorted(used.items()):
        provider = placement.providers.get(uuid)
        capacity = provider.capacity.get(name, 0) if provider else 0
        if amount > capacity:
            yield Difference(
                resources={"provider": uuid, "resource_class": name},
                says=f"placement: {provider.name if provider else uuid} may give out {capacity} {name}",
                found=f"placement: {amount} are given out",
            )


def _total(consumer: ConsumerRecord) -> dict[str, int]:
    total: Counter[str] = Counter()
    for amounts in consumer.allocations.values():
        total.update(amounts)
    return dict(total)


def _amounts(amounts: Mapping[str, int]) -> str:
    return ", ".join(f"{amount} {name}" for name, amount in sorted(amounts.items())) or "nothing"
