"""Networks on a host: whatever is wrong, one round of the agent that keeps them puts it right.

The cloud's own agent is asked first. If none runs, or it does not see it, the agent's driver is run once, if the host
is this one, with the very desired state that the agent would get.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal

from pileus.kernel.context import Context, new_request_id
from pileus.kernel.db import Tx
from pileus.kernel.flows import FlowStore
from pileus.kernel.host.command import CommandError
from pileus.services.compute.db import FLOWS, servers
from pileus.services.compute.flows import reboot_server
from pileus.services.compute.flows.power import PowerData
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.drivers.dhcp.dnsmasq import DnsmasqDriver, DnsmasqSettings
from pileus.services.network.drivers.l2.linuxbridge import LinuxBridgeDriver, LinuxBridgeSettings
from pileus.services.network.drivers.l3.netns import NetnsL3Driver, NetnsL3Settings
from pileus.verify.evidence.network import DesiredHost, read_desired
from pileus.verify.finding import Finding
from pileus.verify.repairs.repair import DONE, GONE, RepairFailed, Tools

AGENT_ACTS_S = 45.0
ROUNDS = 10
BETWEEN_ROUNDS_S = 1.0
REBOOT_S = 180.0

AgentKind = Literal["l2", "l3", "dhcp"]
ApplyDesired = Callable[[DesiredHost], Awaitable[object]]
Driver = Callable[[Tools], AbstractAsyncContextManager[ApplyDesired]]


async def converge_l2(tools: Tools, finding: Finding) -> str:
    """Have bridges, tunnels, taps and rules made what they should be."""
    return await _converge(tools, finding, "l2", _l2)


async def converge_l3(tools: Tools, finding: Finding) -> str:
    """Have routers made what they should be."""
    return await _converge(tools, finding, "l3", _l3)


async def converge_dhcp(tools: Tools, finding: Finding) -> str:
    """Have DHCP made what it should be."""
    return await _converge(tools, finding, "dhcp", _dhcp)


async def _converge(tools: Tools, finding: Finding, kind: AgentKind, open_driver: Driver) -> str:
    if not await tools.stands(finding):
        return GONE
    database, fabric = tools.databases["network"], tools.installation.fabric()
    host = finding.host
    is_here = host == tools.installation.node.host
    if tools.is_running or not is_here:
        await database.write(_ring, fabric, kind, host)
        if await tools.goes(finding, AGENT_ACTS_S):
            return DONE
    if not is_here:
        raise RepairFailed(f"the agent on {host} has not put it right within {AGENT_ACTS_S:.0f} s")
    desired = await database.read(read_desired, fabric, host)
    try:
        async with open_driver(tools) as apply:
            for _ in range(ROUNDS):  # what takes long is not through after the first one
                await apply(desired)
                if not await tools.stands(finding):
                    return DONE
                await asyncio.sleep(BETWEEN_ROUNDS_S)
    except (CommandError, OSError, ValueError) as error:
        raise RepairFailed(str(error)) from error
    raise RepairFailed(f"it is still there after {ROUNDS} rounds of the agent's driver")


def _ring(tx: Tx, fabric: Fabric, kind: str, host: str) -> None:
    fabric.changed(tx, kind, [host])


@asynccontextmanager
async def _l2(tools: Tools) -> AsyncIterator[ApplyDesired]:
    config = tools.installation.network
    driver = LinuxBridgeDriver(
        LinuxBridgeSettings(
            cloud=tools.installation.node.cloud, physical_networks=config.physical_networks,
            tunnel_ip=config.tunnel_ip, vxlan_port=config.vxlan_port,
        )
    )  # fmt: skip
    yield lambda desired: driver.apply(desired.l2)


@asynccontextmanager
async def _l3(tools: Tools) -> AsyncIterator[ApplyDesired]:
    driver = NetnsL3Driver(NetnsL3Settings(cloud=tools.installation.node.cloud, detail_interval_s=0))
    await driver.start(lambda: None, None)
    try:
        yield lambda desired: driver.apply(desired.l3)
    finally:
        await driver.close()


@asynccontextmanager
async def _dhcp(tools: Tools) -> AsyncIterator[ApplyDesired]:
    cloud, run_dir = tools.installation.node.cloud, str(tools.installation.dhcp_dir)
    driver = DnsmasqDriver(DnsmasqSettings(cloud=cloud, run_dir=run_dir, detail_interval_s=0))
    await driver.start(lambda: None, None)
    try:
        yield lambda desired: driver.apply(desired.dhcp)
    finally:
        await driver.close()


async def restart_guest(tools: Tools, finding: Finding) -> str:
    """Restart the guest whose network card has lost its device: only a start makes it anew."""
    server_id = finding.resources["server"]
    if not await tools.stands(finding):
        return GONE
    begun = await tools.databases["compute"].write(_begin_reboot, FLOWS, server_id)
    if not begun:
        return GONE
    if not tools.is_running:
        raise RepairFailed("the guest is restarted once the cloud runs: start it")
    if not await tools.goes(finding, REBOOT_S):
        raise RepairFailed(f"the guest has not its device back within {REBOOT_S:.0f} s; see `pileus why {server_id}`")
    return DONE


def _begin_reboot(tx: Tx, store: FlowStore, server_id: str) -> bool:
    """What the API does for a hard reboot."""
    server = servers.get(tx, server_id)
    if server is None or server.task_state is not None or store.active(tx, server_id):
        return False
    begun = servers.begin(tx, server_id, "reboot_hard")
    data = PowerData(server_id=server_id, generation=begun.generation, vm_state=server.vm_state, reboot_type="HARD")
    context = Context(project_id=server.project_id, user_id=server.user_id, request_id=new_request_id())
    store.start(tx, reboot_server.FLOW, server_id, data, context)
    return True
