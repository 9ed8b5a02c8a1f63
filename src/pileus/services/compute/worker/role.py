"""The role `compute-agent`: one agent in the life of a node.

The hypervisor may need a while to answer after a start of the host, so the agent opens in the background;
until then its topic has no listener and callers try again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pileus.kernel.bus.messages import Message
from pileus.kernel.errors import ServiceError
from pileus.services.compute.drivers.hypervisor.fake import FakeHypervisor
from pileus.services.compute.drivers.hypervisor.interface import Hypervisor, HypervisorError
from pileus.services.compute.rpc import AGENT_ROLE, CONDUCTOR_TOPIC, HOST_REPORT_TIMEOUT_S, ImageRef, agent_topic
from pileus.services.compute.worker.agent import ComputeAgent
from pileus.services.compute.worker.config import AgentConfig
from pileus.services.compute.worker.hooks import BUILD_HOOKS, IMAGINED_HOOKS
from pileus.services.compute.worker.reconcile import Reconciliation

if TYPE_CHECKING:
    from pileus.kernel.process.runtime import Runtime

log = logging.getLogger(__name__)

OPEN_RETRY_S: Final = 5.0
REPORT_AGAIN_S: Final = 2.0
TIDY_INTERVAL_S: Final = 30.0


async def start(rt: Runtime[Any]) -> None:
    """Start the role; `rt.config.agent` is its `AgentConfig`."""
    config: AgentConfig = rt.config.agent
    directory = Path(config.instances_dir) if config.instances_dir else rt.state_dir

    def download(image: ImageRef) -> AsyncIterator[bytes]:
        return rt.session.stream("image", f"/v2/images/{image.id}/file")

    async def notify(message: Message) -> None:
        await rt.bus.cast(CONDUCTOR_TOPIC, message)

    agent = ComputeAgent(
        host=rt.host, cloud=rt.node.config.cloud, directory=directory, hypervisor=_hypervisor(rt, config, directory),
        images=download, notify=notify, config=config,
        hooks=IMAGINED_HOOKS if config.hypervisor == "fake" else BUILD_HOOKS,
    )
    rt.put(agent)
    rt.spawn(_serve(rt, agent), name=AGENT_ROLE)


def _hypervisor(rt: Runtime[Any], config: AgentConfig, directory: Path) -> Hypervisor:
    if config.hypervisor == "fake":
        return FakeHypervisor(
            vcpus=config.fake_vcpus, ram_mib=config.fake_ram_mib,
            state_file=directory / "fake-guests.json",
        )
    from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor  # needs the C library

    return LibvirtHypervisor(cloud=rt.node.config.cloud, state_dir=directory)


async def _serve(rt: Runtime[Any], agent: ComputeAgent) -> None:
    """Open, listen, recover, then look after the guests until the node stops."""
    try:
        await _until_it_works("the hypervisor is not ready", agent.open)
        rt.bus.listen(agent_topic(agent.host), agent.handlers())
        reconciliation = Reconciliation(agent)

        rt.every(agent.config.report_interval_s, lambda: _report(rt, agent), name="compute host report")
        await _until_it_works("the guests cannot be seen", reconciliation.recover)
        rt.every(agent.config.reconcile_interval_s, reconciliation.run, name="compute reconciliation")
        rt.every(TIDY_INTERVAL_S, reconciliation.tidy, name="compute tidying")
        await asyncio.Event().wait()
    finally:
        await agent.close()


async def _report(rt: Runtime[Any], agent: ComputeAgent) -> None:
    """Until a conductor has taken it: after an outage no server is placed here before."""
    level = logging.WARNING
    while True:
        try:
            await rt.bus.call(CONDUCTOR_TOPIC, await agent.reporter.report(), timeout_s=HOST_REPORT_TIMEOUT_S)
            return
        except (ServiceError, TimeoutError) as error:
            why = error.text if isinstance(error, ServiceError) else "no answer in time"
            log.log(level, "no conductor takes this host's report: %s; tried again every %g s", why, REPORT_AGAIN_S)
            level = logging.DEBUG
            await asyncio.sleep(REPORT_AGAIN_S)


async def _until_it_works(trouble: str, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
            return
        except (HypervisorError, OSError) as error:  # a hung daemon, a full disk: neither ends the other roles
            log.error("%s: %s; next try in %g s", trouble, error, OPEN_RETRY_S)
            await asyncio.sleep(OPEN_RETRY_S)
