"""A host that cannot start a guest is left for another one."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from actors import Shop

from pileus.services.compute.drivers.hypervisor.fake import FakeHypervisor
from pileus.services.compute.rpc import CONDUCTOR_TOPIC, agent_topic
from pileus.services.compute.worker.agent import ComputeAgent
from pileus.services.compute.worker.config import AgentConfig
from pileus.services.compute.worker.hooks import IMAGINED_HOOKS

FAILING_STARTS = 2


async def second_host(shop: Shop, directory: Path) -> ComputeAgent:
    """Another host of the same cloud, in this process."""
    node = shop.cloud.node

    async def notify(message) -> None:
        await node.bus.cast(CONDUCTOR_TOPIC, message)

    agent = ComputeAgent(
        host="second", cloud=node.config.cloud, directory=directory, hypervisor=FakeHypervisor(),
        images=lambda image: node.runtimes["compute"].session.stream("image", f"/v2/images/{image.id}/file"),
        notify=notify, config=AgentConfig(hypervisor="fake"), hooks=IMAGINED_HOOKS,
    )
    await agent.open()
    node.bus.listen(agent_topic("second"), agent.handlers())
    await notify(await agent.reporter.report())
    return agent


def test_the_next_best_host_takes_over(shop: Shop, tmp_path: Path) -> None:
    agent = shop.cloud.run(second_host(shop, tmp_path))
    deadline = time.monotonic() + 10
    while len(shop.admin.get("/os-hypervisors")["hypervisors"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    agent.hypervisor.fail_starts = FAILING_STARTS
    made = [shop.boot(f"moved-{n}", networks="none") for n in range(10)]
    hosts = [shop.admin.until_status(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"] for server in made]
    assert agent.hypervisor.fail_starts == 0, "the second host was tried"
    assert set(hosts) <= {"test-host", "second"}
    there = {guest.server_id for guest in shop.cloud.run(agent.hypervisor.list_guests())}
    assert there == {server for server, host in zip(made, hosts, strict=True) if host == "second"}
    for server, host in zip(made, hosts, strict=True):
        claim = shop.cloud.request("GET", f"/placement/allocations/{server}", token=shop.admin.token).json()
        (provider,) = claim["allocations"]
        (named,) = [h for h in shop.admin.get("/os-hypervisors")["hypervisors"] if h["id"] == provider]
        assert named["hypervisor_hostname"] == host
    for server in made:
        shop.user.delete(server)
    assert shop.cloud.run(agent.hypervisor.list_guests()) == ()
    shop.cloud.run(asyncio.sleep(0))
    shop.cloud.run(agent.close())
