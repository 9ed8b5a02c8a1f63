"""Stopping a server: its power button first, then by force."""

from __future__ import annotations

from pileus.kernel.flows import Flow, Run, Step
from pileus.services.compute import rpc
from pileus.services.compute.flows.agent_calls import ABSENCE_ATTEMPTS
from pileus.services.compute.flows.power import PowerData, fail, rest, tell

STEP_TIMEOUT_S = 3_600.0


async def stop(run: Run[PowerData]) -> None:
    """Stop the guest; one that is stopped already is left alone."""
    data = run.data
    message = rpc.StopServer(server_id=data.server_id, generation=data.generation, soft_timeout_s=data.soft_timeout_s)
    await tell(run, message, timeout_s=data.soft_timeout_s + rpc.STOP_MARGIN_S)


FLOW = Flow(
    name="stop_server", data=PowerData, on_done=rest, on_failed=fail, deadline_s=2 * STEP_TIMEOUT_S,
    steps=(Step(name="stop", do=stop, timeout_s=STEP_TIMEOUT_S, attempts=ABSENCE_ATTEMPTS),),
)
