"""What starting, stopping and rebooting have in common: one call to the host, one change of state."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.bus import Message
from pileus.kernel.db import Tx
from pileus.kernel.flows import Fault, Run
from pileus.services.compute import states
from pileus.services.compute.db import faults, servers
from pileus.services.compute.db.servers import Server
from pileus.services.compute.errors import ServerNotFound, ServerNotReady
from pileus.services.compute.flows.agent_calls import ask


class PowerData(msgspec.Struct, kw_only=True):
    """What the step and the end share. vm_state: to go back to when it fails."""

    server_id: str
    generation: int
    vm_state: str
    power_state: int = states.NO_STATE
    soft_timeout_s: float = 60.0
    reboot_type: str = "SOFT"


async def placed(run: Run[PowerData]) -> Server:
    """The server, which must be on a host."""
    server = await run.rt.db.read(servers.get, run.data.server_id)
    if server is None:
        raise ServerNotFound(server_id=run.data.server_id)
    if server.host is None:
        raise ServerNotReady(server_id=server.id)
    return server


async def tell(run: Run[PowerData], message: Message, *, timeout_s: float) -> None:
    """Ask the server's host and remember what became of the guest."""
    server = await placed(run)
    report = await ask(run.rt, server.host or "", message, timeout_s=timeout_s)
    run.data.power_state = states.POWER_NUMBERS[report.power_state]
    run.detail = f"{report.power_state} on {report.host}"


def rest(tx: Tx, data: PowerData, **more: Any) -> None:
    """The server rests in the state that its guest is in."""
    vm_state = states.ACTIVE if data.power_state == states.RUNNING else states.STOPPED
    servers.finish(tx, data.server_id, data.generation, vm_state=vm_state, power_state=data.power_state, **more)


def fail(tx: Tx, data: PowerData, fault: Fault) -> None:
    """Back to where it was, with the reason kept."""
    if servers.finish(tx, data.server_id, data.generation, vm_state=data.vm_state) and not fault.cancelled:
        faults.insert(tx, data.server_id, faults.NewFault(500, fault.text, fault.detail))
