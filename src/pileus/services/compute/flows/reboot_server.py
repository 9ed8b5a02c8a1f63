"""Rebooting a server, with its cooperation or without."""

from __future__ import annotations

import msgspec

from pileus.kernel.flows import Flow, Run, Step
from pileus.services.compute import rpc
from pileus.services.compute.flows.agent_calls import ABSENCE_ATTEMPTS
from pileus.services.compute.flows.power import PowerData, fail, rest, tell


async def reboot(run: Run[PowerData]) -> None:
    """Restart the guest; a stopped one starts."""
    data = run.data
    message = rpc.RebootServer(
        server_id=data.server_id, generation=data.generation, soft_timeout_s=data.soft_timeout_s,
        reboot_type=msgspec.convert(data.reboot_type, rpc.RebootType),
    )
    await tell(run, message, timeout_s=rpc.REBOOT_TIMEOUT_S)


FLOW = Flow(
    name="reboot_server", data=PowerData, on_done=rest, on_failed=fail,
    steps=(Step(name="reboot", do=reboot, timeout_s=rpc.REBOOT_TIMEOUT_S + 10, attempts=ABSENCE_ATTEMPTS),),
)
