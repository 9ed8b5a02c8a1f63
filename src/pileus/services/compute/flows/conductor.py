"""The role `compute-conductor`: runs the flows, takes in what agents and network report, keeps the tables in order."""

from __future__ import annotations

from datetime import timedelta

from pileus.kernel.flows import FlowRunner
from pileus.kernel.process import Runtime
from pileus.services.compute.clients.network import NetworkClient
from pileus.services.compute.config import ComputeConfig
from pileus.services.compute.db import servers, services
from pileus.services.compute.flows.create_server import FreshBuilds
from pileus.services.compute.flows.port_watch import PortWatch
from pileus.services.compute.rpc import CONDUCTOR_TOPIC, GuestEvent, HostReport
from pileus.services.compute.tasks.host_reports import HostReports
from pileus.services.compute.tasks.network_info import NetworkInfoKeeper
from pileus.services.network.rpc import FloatingIpChanged, PortStatusChanged

BEAT_S = 20.0
PRUNE_S = 3_600.0


async def start(rt: Runtime[ComputeConfig]) -> None:
    """Listen, then run."""
    watch, keeper, reports = PortWatch(rt.get(NetworkClient)), NetworkInfoKeeper(rt), HostReports(rt)
    rt.put(watch)
    rt.put(FreshBuilds())

    async def port_changed(event: PortStatusChanged) -> None:
        watch.heard(event.port_id, event.status)
        if event.device_id:
            keeper.ring(event.device_id)

    async def floating_ip_changed(event: FloatingIpChanged) -> None:
        if event.device_id:
            keeper.ring(event.device_id, insist=True)

    rt.bus.subscribe(PortStatusChanged, port_changed)
    rt.bus.subscribe(FloatingIpChanged, floating_ip_changed)
    rt.bus.listen(
        CONDUCTOR_TOPIC, {HostReport: reports.host_report, GuestEvent: reports.guest_event}
    )
    runner = FlowRunner(rt, owner=f"{rt.host}:compute-conductor", concurrency=rt.config.build_concurrency)
    rt.spawn(runner.run_forever(), name="compute flows")
    rt.every(
        BEAT_S, lambda: rt.db.write(services.beat, rt.host, services.CONDUCTOR), name="compute conductor heartbeat"
    )
    rt.every(PRUNE_S, lambda: _prune(rt), name="compute pruning")


async def _prune(rt: Runtime[ComputeConfig]) -> None:
    await rt.db.write(servers.prune, rt.clock.now() - timedelta(days=rt.config.deleted_kept_days))
