"""Building a server: choose and claim a host, make its ports, prepare the guest, wait for the network, start it.

A host that fails is left for the next of the alternatives that were chosen with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import msgspec

from pileus.kernel.db import DatabaseUnavailable, Tx
from pileus.kernel.errors import RemoteError, ServiceError
from pileus.kernel.flows import Fault, Flow, Retry, Run, Step
from pileus.services.compute import rpc, states
from pileus.services.compute.db import aggregates, faults, hosts, server_groups, servers
from pileus.services.compute.db.servers import Server
from pileus.services.compute.errors import BuildFailed
from pileus.services.compute.flows import agent_calls, placing, plugging
from pileus.services.compute.flows.agent_calls import (
    ABSENCE_ATTEMPTS,
    HostAbsent,
    HostRefused,
    HostSilent,
    ask,
    may_work_elsewhere,
)
from pileus.services.compute.flows.config_drive import files_for
from pileus.services.compute.flows.plugging import RequestedNic
from pileus.services.compute.flows.port_watch import PortWatch
from pileus.services.compute.logic.server_spec import spec_of
from pileus.services.compute.rpc import Destination

WIRE_TIMEOUT_S = 120.0
BUILD_STEP_TIMEOUT_S = 1_900.0
BUILD_DEADLINE_S = 7_200.0
MAX_HOSTS_TRIED = 3


class CreateServerData(msgspec.Struct, kw_only=True):
    """What the steps share. `alternatives`: hosts to go on with if the chosen one fails, best first."""

    server_id: str
    generation: int
    nics: tuple[RequestedNic, ...] = ()
    group_ids: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    zone: str | None = None
    requested_host: str | None = None
    requested_node: str | None = None
    forced: bool = False
    alternatives: list[Destination] = []
    hosts_tried: int = 1
    power_state: int = states.NO_STATE
    instance_name: str = ""
    root_device: str = ""


Building = Run[CreateServerData]


class FreshBuilds:
    """Servers whose host was chosen by this process a moment ago: they cannot have ports yet, which spares asking."""

    def __init__(self) -> None:
        self.servers: set[str] = set()


async def _server(run: Building) -> Server:
    server = await run.rt.db.read(servers.get, run.data.server_id)
    if server is None or server.generation != run.data.generation:
        raise BuildFailed(server_id=run.data.server_id, reason="it was deleted meanwhile")
    return server


# -- where -----------------------------------------------------------------------------------------------------------


async def choose_host(run: Building) -> None:
    """Ask a scheduler for hosts in order and claim the first that lets itself be claimed."""
    server = await _server(run)
    chosen, run.data.alternatives = await placing.choose(run.rt, server, run.data)
    run.with_journal(_place, run.data.server_id, chosen)
    run.rt.get(FreshBuilds).servers.add(run.data.server_id)
    run.detail = f"on {chosen.host}"


async def release_host(run: Building) -> None:
    """Give the claim back."""
    await placing.release(run.rt, run.data.server_id)
    run.with_journal(_unplace, run.data.server_id)


def _place(tx: Tx, server_id: str, chosen: Destination) -> None:
    _check_group(tx, server_id, chosen.host)
    zone = aggregates.zone_of(tx, chosen.host)
    servers.change(
        tx, server_id, host=chosen.host, node=chosen.node, availability_zone=zone, task_state=states.SPAWNING
    )


def _check_group(tx: Tx, server_id: str, host: str) -> None:
    """Two members of a group may have been scheduled at the same moment; the second to be placed looks again."""
    server = servers.get(tx, server_id)
    group = server_groups.get(tx, server.server_group_id) if server and server.server_group_id else None
    if group is None:
        return
    members = hosts.members_by_host(tx, group.id, without=server_id)
    crowded = members.get(host, 0) >= group.rules.get("max_server_per_host", 1)
    apart = bool(members) and host not in members
    if (group.policy == "anti-affinity" and crowded) or (group.policy == "affinity" and apart):
        raise Retry("another member of the server group was placed meanwhile", after_s=0.1)


def _unplace(tx: Tx, server_id: str) -> None:
    servers.change(tx, server_id, host=None, node=None)


# -- network ---------------------------------------------------------------------------------------------------------


async def allocate_ports(run: Building) -> None:
    """Make or take the ports, bound to the chosen host."""
    server = await _server(run)
    fresh = run.rt.get(FreshBuilds).servers
    first = server.id in fresh and run.attempt == 0
    fresh.discard(server.id)
    if given := tuple(plugging.given_vif(nic) for nic in run.data.nics if nic.port_id):
        await run.write(servers.change, server.id, network_info=given)  # whoever cleans up must not delete them
    vifs = await plugging.plug(run.rt, server, run.data.nics, run.data.group_ids, run.data.group_names, first=first)
    run.with_journal(servers.change, server.id, network_info=vifs)
    run.detail = f"{len(vifs)} ports"


async def release_ports(run: Building) -> None:
    """Delete those that were made, hand back those that were given."""
    given = {nic.port_id for nic in run.data.nics if nic.port_id}
    server = await run.rt.db.read(servers.get, run.data.server_id)
    if server is None:
        return
    await plugging.unplug(run.rt, server, given)
    run.with_journal(servers.change, run.data.server_id, network_info=())


# -- guest -----------------------------------------------------------------------------------------------------------


async def _prepare(run: Building) -> None:
    server = await _server(run)
    spec = spec_of(server, await files_for(run.rt, server))
    message = rpc.PrepareServer(generation=server.generation, spec=spec)
    report = await ask(run.rt, server.host or "", message, timeout_s=rpc.PREPARE_TIMEOUT_S)
    run.data.instance_name, run.data.root_device = report.instance_name, report.root_device


async def _wire(run: Building) -> None:
    server = await _server(run)
    try:
        ports = [vif.port_id for vif in server.network_info]
        await run.rt.get(PortWatch).until_active(ports, WIRE_TIMEOUT_S)
        run.detail = f"the network wired {len(ports)} ports"
    except TimeoutError as error:
        fault = rpc.Fault("network_plug_failed", "Virtual Interface creation failed", str(error), retryable=True)
        raise HostRefused(server.host or "", fault) from error


async def _start(run: Building) -> None:
    server = await _server(run)
    message = rpc.StartServer(server_id=server.id, generation=server.generation)
    report = await ask(run.rt, server.host or "", message, timeout_s=rpc.START_TIMEOUT_S)
    run.data.power_state = states.POWER_NUMBERS[report.power_state]
    run.data.instance_name = report.instance_name or run.data.instance_name
    run.data.root_device = report.root_device or run.data.root_device


async def prepare(run: Building) -> None:
    """Everything on the host but the running guest."""
    await _on_some_host(run, _prepare)


async def wire(run: Building) -> None:
    """Until the network service says that the ports work: a guest that starts earlier asks for addresses in vain."""
    await _on_some_host(run, _wire, before=(_prepare,))


async def start(run: Building) -> None:
    """Start the guest."""
    await _on_some_host(run, _start, before=(_prepare, _wire))


async def destroy(run: Building) -> None:
    """Leave nothing on the host."""
    server = await run.rt.db.read(servers.get, run.data.server_id, deleted=True)
    if server is not None and server.host is not None:
        run.detail = await agent_calls.destroy(run.rt, server.host, server.id, run.data.generation)


Stage = Callable[[Building], Awaitable[None]]


async def _on_some_host(run: Building, work: Stage, before: tuple[Stage, ...] = ()) -> None:
    """Do the work on the chosen host. If the host fails, move on and do there first what it takes. Raises what may come
    back (the agent when there is no other, a sibling service), so that the step is tried again."""
    stages: tuple[Stage, ...] = (work,)
    while True:
        try:
            for stage in stages:
                await stage(run)
            return
        except DatabaseUnavailable:
            raise  # this service's own, which says nothing about any host: the flow goes on when it is back
        except ServiceError as error:
            if not may_work_elsewhere(error) or not await _move_on(run, error):
                if _may_come_back(error) and run.attempt + 1 < ABSENCE_ATTEMPTS:
                    raise
                raise _build_failure(run, error) from error
        stages = (*before, work)


async def _move_on(run: Building, error: ServiceError) -> bool:
    """Leave the failed host for the next alternative. False when there is none."""
    server = await _server(run)
    if run.data.hosts_tried >= MAX_HOSTS_TRIED or not run.data.alternatives:
        return False
    with contextlib.suppress(HostSilent):  # it cleans up when it is back, or with the next destroy
        await agent_calls.destroy(run.rt, server.host or "", server.id, server.generation)
    while run.data.alternatives:
        candidate = run.data.alternatives.pop(0)
        if not await placing.claim(run.rt, server, candidate):
            continue
        run.data.hosts_tried += 1
        try:
            await run.write(_place, server.id, candidate)
        except Retry:
            continue
        run.rt.get(PortWatch).forget(vif.port_id for vif in server.network_info)
        try:
            await plugging.rebind(run.rt, server, candidate.host)
        except RemoteError:
            continue
        run.detail = f"{server.host} failed ({error.text[:200]}); on {candidate.host}"
        return True
    return False


def _may_come_back(error: ServiceError) -> bool:
    return isinstance(error, HostAbsent) or (isinstance(error, RemoteError) and error.code == 503)


def _build_failure(run: Building, error: ServiceError) -> BuildFailed:
    return BuildFailed(server_id=run.data.server_id, reason=error.text, detail=error.detail)


# -- the end ---------------------------------------------------------------------------------------------------------


def activate(tx: Tx, data: CreateServerData) -> None:
    """The guest runs."""
    vm_state = states.ACTIVE if data.power_state == states.RUNNING else states.STOPPED
    server = servers.get(tx, data.server_id)
    vifs = tuple(msgspec.structs.replace(v, status="ACTIVE") for v in server.network_info) if server else ()
    servers.finish(
        tx, data.server_id, data.generation, vm_state=vm_state, power_state=data.power_state, launched_at=tx.now(),
        instance_name=data.instance_name, root_device=data.root_device, network_info=vifs,
    )


def fail(tx: Tx, data: CreateServerData, fault: Fault) -> None:
    """Nothing of the server is left but its row, with the reason."""
    if not fault.cancelled:
        code = fault.code if fault.code in (400, 403, 409) else 500
        servers.fail(tx, data.server_id, data.generation, faults.NewFault(code, fault.text, fault.detail))


FLOW = Flow(
    name="create_server",
    data=CreateServerData,
    deadline_s=BUILD_DEADLINE_S,
    steps=(
        Step(name="choose_host", do=choose_host, undo=release_host, attempts=ABSENCE_ATTEMPTS),
        Step(name="allocate_ports", do=allocate_ports, undo=release_ports, attempts=ABSENCE_ATTEMPTS),
        Step(name="prepare", do=prepare, undo=destroy, timeout_s=BUILD_STEP_TIMEOUT_S, attempts=ABSENCE_ATTEMPTS,
             undo_timeout_s=rpc.DESTROY_TIMEOUT_S + 10),
        Step(name="wire", do=wire, timeout_s=BUILD_STEP_TIMEOUT_S, attempts=ABSENCE_ATTEMPTS),
        Step(name="start", do=start, timeout_s=BUILD_STEP_TIMEOUT_S, attempts=ABSENCE_ATTEMPTS),
    ),
    on_done=activate,
    on_failed=fail,
)

