"""The role `compute-scheduler`: gathers facts from the database and placement, and answers which hosts fit a server.

It changes nothing, so any number of them may run, and a question may be put again. What it names may be gone when it is
claimed; then it is asked again.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.errors import RemoteError
from pileus.kernel.process import Runtime
from pileus.services.compute.clients.placement import Candidates, PlacementClient
from pileus.services.compute.config import ComputeConfig
from pileus.services.compute.db import aggregates, hosts, servers, services
from pileus.services.compute.db.hosts import Hosts
from pileus.services.compute.db.hypervisors import Hypervisor
from pileus.services.compute.db.servers import Server
from pileus.services.compute.errors import NoValidHost, ServerNotFound
from pileus.services.compute.logic import host_inventory, resources
from pileus.services.compute.rpc import SCHEDULER_TOPIC, Destination, SelectHosts, Selection
from pileus.services.compute.scheduler import Aggregate, Capacity, Group, HostState, SchedulingRequest, select
from pileus.services.compute.scheduler.facts import MEMORY_MB, VCPU

BEAT_S = 20.0
MAX_HOSTS_NAMED = 20
MAX_EXPLAINED = 20


async def start(rt: Runtime[ComputeConfig]) -> None:
    """Answer."""
    rt.bus.listen(SCHEDULER_TOPIC, {SelectHosts: HostSelection(rt).select})
    rt.every(
        BEAT_S, lambda: rt.db.write(services.beat, rt.host, services.SCHEDULER), name="compute scheduler heartbeat"
    )


class HostSelection:
    """Answers where servers can go."""

    def __init__(self, rt: Runtime[Any]) -> None:
        self._rt = rt

    async def select(self, question: SelectHosts) -> Selection:
        """The hosts that fit, best first; none, with the reasons, when no host does. Raises `ServerNotFound`."""
        rt = self._rt
        server = await rt.db.read(servers.get, question.server_id)
        if server is None:
            raise ServerNotFound(server_id=question.server_id)
        same, different = _named(server, "same_host"), _named(server, "different_host")
        known = await rt.db.read(hosts.read, server, [*same, *different])
        try:
            candidates = await _candidates(rt, server)
        except NoValidHost as error:
            return Selection((), error.detail or "")
        facts = [_state(rt, item, known, candidates) for item in known.hypervisors]
        request = _request(server, question, known, candidates, same, different)
        decision = select(request, facts, rt.config.scheduler)
        if not decision.ranked:
            exact = await _exactly(rt, facts, candidates)
            return Selection((), select(request, exact, rt.config.scheduler).explain(), silent=_silent(rt, known))
        by_name = {item.host: item for item in known.hypervisors}
        named = decision.ranked[:MAX_HOSTS_NAMED]
        return Selection(
            tuple(_destination(by_name[item.host], server, candidates) for item in named), decision.explain()
        )


def _silent(rt: Runtime[Any], known: Hosts) -> bool:
    """Whether there are hosts that may be used, and none reports: after an outage of the broker, or of the power, the
    first requests are here before the first reports."""
    wanted = [service for service in known.services.values() if not service.disabled and not service.forced_down]
    return bool(wanted) and not any(service.is_up(rt.clock.now()) for service in wanted)


async def _exactly(rt: Runtime[Any], facts: list[HostState], candidates: Candidates) -> list[HostState]:
    """The hosts with what is claimed on them: of those that it does not offer placement has told nothing yet, and
    operators want to know what is missing where."""
    told = candidates.summaries.keys()
    asked = [state for state in facts if state.provider_id not in told][:MAX_EXPLAINED]
    exact = {state.name: await _with_claims(rt, state) for state in asked}
    return [exact.get(state.name, state) for state in facts]


async def _with_claims(rt: Runtime[Any], state: HostState) -> HostState:
    try:
        used = await rt.get(PlacementClient).usages(state.provider_id)
    except RemoteError:
        return state  # it has no provider yet, which its filter says
    capacity = {
        name: msgspec.structs.replace(item, used=used.get(name, item.used)) for name, item in state.capacity.items()
    }
    return msgspec.structs.replace(state, capacity=capacity)


async def _candidates(rt: Runtime[Any], server: Server) -> Candidates:
    required, forbidden = resources.traits(server.flavor, server.image)
    try:
        return await rt.get(PlacementClient).allocation_candidates(
            resources.needs(server.flavor), required=required, forbidden=forbidden
        )
    except RemoteError as error:
        if error.code == 400:  # a trait or resource class that placement does not know
            raise NoValidHost(detail=f"placement refused the request: {error.text}") from error
        raise


def _named(server: Server, hint: str) -> list[str]:
    value = server.scheduler_hints.get(hint, [])
    return [value] if isinstance(value, str) else list(value)


def _request(
    server: Server, wishes: SelectHosts, known: Hosts, candidates: Candidates, same: list[str], different: list[str]
) -> SchedulingRequest:
    forced = (wishes.requested_host or wishes.requested_node or "",) if wishes.forced else ()
    group = known.group
    return SchedulingRequest(
        seed=server.id, vcpus=server.vcpus, ram_mib=server.ram_mib, disk_gib=resources.disk_gib(server.flavor),
        extra_specs=server.flavor.extra_specs, image_properties=server.image.properties if server.image else {},
        project_id=server.project_id, availability_zone=wishes.zone, candidates=frozenset(candidates.by_root),
        requested_host=None if wishes.forced else wishes.requested_host or wishes.requested_node, force_hosts=forced,
        same_host=tuple(same), different_host=tuple(different), server_hosts=known.named_servers,
        group=None if group is None else Group(
            id=group.id, policy=group.policy, members_by_host=known.group_members,  # type: ignore[arg-type]
            max_server_per_host=group.rules.get("max_server_per_host", 1),
        ),
        hints=server.scheduler_hints,
    )


def _state(rt: Runtime[Any], item: Hypervisor, known: Hosts, candidates: Candidates) -> HostState:
    report, service = item.report, known.services.get(item.host)
    load, memberships = known.loads.get(item.host), known.aggregates.get(item.host, [])
    used = {VCPU: load.vcpus, MEMORY_MB: load.ram_mib} if load else {}
    capacity = {
        name: Capacity(inventory.capacity, used.get(name, 0), inventory.max_unit)
        for name, inventory in host_inventory.inventory_of(report, rt.config).items()
    }
    summary = candidates.summaries.get(item.uuid)
    if summary is not None:
        for name, (total, taken) in summary.resources.items():
            old = capacity.get(name)
            capacity[name] = Capacity(total, taken, old.max_unit if old else None)
    return HostState(
        name=item.host, provider_id=item.uuid, node=report.hypervisor_hostname,
        zone=next((m.zone for m in memberships if m.zone), aggregates.DEFAULT_ZONE),
        enabled=service is not None and not service.disabled,
        disabled_reason=service.disabled_reason if service else None,
        up=service is not None and service.is_up(rt.clock.now()), capacity=capacity,
        traits=summary.traits if summary else frozenset(),
        aggregates=tuple(Aggregate(m.id, m.name, m.metadata) for m in memberships),
        hypervisor_type=report.hypervisor_type, hypervisor_version=report.hypervisor_version, arch=report.cpu.arch,
        builds_in_progress=load.building if load else 0,
    )


def _destination(item: Hypervisor, server: Server, candidates: Candidates) -> Destination:
    offered = candidates.by_root.get(item.uuid)
    if offered:
        return Destination(item.host, item.report.hypervisor_hostname, offered[0].allocations, offered[0].mappings)
    # A forced host that placement did not offer: what the flavor says, if there is room for it.
    return Destination(item.host, item.report.hypervisor_hostname, {item.uuid: resources.needs(server.flavor)})
