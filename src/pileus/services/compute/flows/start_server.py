"""Starting a stopped server."""

from __future__ import annotations

from pileus.kernel.flows import Flow, Run, Step
from pileus.services.compute import rpc
from pileus.services.compute.flows.agent_calls import ABSENCE_ATTEMPTS
from pileus.services.compute.flows.power import PowerData, fail, rest, tell


async def start(run: Run[PowerData]) -> None:
    """Start the guest; one that runs already is left alone."""
    message = rpc.StartServer(server_id=run.data.server_id, generation=run.data.generation)
    await tell(run, message, timeout_s=rpc.START_TIMEOUT_S)


FLOW = Flow(
    name="start_server", data=PowerData, on_done=rest, on_failed=fail,
    steps=(Step(name="start", do=start, timeout_s=rpc.START_TIMEOUT_S + 10, attempts=ABSENCE_ATTEMPTS),),
)
