"""Deleting a server: the guest, the ports, the claim, then the row."""

from __future__ import annotations

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.flows import Fault, Flow, Run, Step
from pileus.services.compute import rpc
from pileus.services.compute.db import faults, servers
from pileus.services.compute.flows import agent_calls, placing, plugging


class DeleteServerData(msgspec.Struct, kw_only=True):
    """What the steps share."""

    server_id: str
    generation: int


Deleting = Run[DeleteServerData]


async def destroy(run: Deleting) -> None:
    """Leave nothing on the host. A host that is down cleans up when it reports again."""
    server = await run.rt.db.read(servers.get, run.data.server_id)
    if server is None or server.host is None:
        return
    run.detail = await agent_calls.destroy(run.rt, server.host, server.id, run.data.generation)


async def release_ports(run: Deleting) -> None:
    """Delete the ports that compute made, hand back the others."""
    server = await run.rt.db.read(servers.get, run.data.server_id)
    if server is not None:
        await plugging.unplug(run.rt, server, {vif.port_id for vif in server.network_info if not vif.created})


async def release_host(run: Deleting) -> None:
    """Give the claim back."""
    await placing.release(run.rt, run.data.server_id)


def bury(tx: Tx, data: DeleteServerData) -> None:
    """Nothing is left."""
    servers.mark_deleted(tx, data.server_id)


def fail(tx: Tx, data: DeleteServerData, fault: Fault) -> None:
    """Something is left; deleting again goes on from here."""
    servers.fail(tx, data.server_id, data.generation, faults.NewFault(500, fault.text, fault.detail))


FLOW = Flow(
    name="delete_server",
    data=DeleteServerData,
    overtakes=True,
    steps=(
        Step(name="destroy", do=destroy, timeout_s=rpc.DESTROY_TIMEOUT_S + 10, attempts=10, backoff_s=1.0),
        Step(name="release_ports", do=release_ports, attempts=10),
        Step(name="release_host", do=release_host, attempts=10),
    ),
    on_done=bury,
    on_failed=fail,
)
