"""The roles `network-l2`, `network-l3` and `network-dhcp`: one agent each in the life of a node."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from pileus.kernel.host.command import CommandError
from pileus.kernel.host.uplink import Uplink
from pileus.services.network.drivers.dhcp.dnsmasq import DnsmasqDriver, DnsmasqSettings
from pileus.services.network.drivers.dhcp.fake import FakeDhcpDriver
from pileus.services.network.drivers.interfaces import DhcpDriver, L2Driver, L3Driver
from pileus.services.network.drivers.l2.fake import FakeL2Driver
from pileus.services.network.drivers.l2.linuxbridge import LinuxBridgeDriver, LinuxBridgeSettings
from pileus.services.network.drivers.l3.fake import FakeL3Driver
from pileus.services.network.drivers.l3.netns import NetnsL3Driver, NetnsL3Settings
from pileus.services.network.rpc import HostChanged, agent_topic

from .agent import Agent, AgentSettings
from .bus_server import BusMetadataBackend, BusNetworkServer
from .config import AgentConfig
from .dhcp_agent import DhcpAgent
from .l2_agent import L2Agent
from .l3_agent import L3Agent
from .metadata import MetadataServer

if TYPE_CHECKING:
    from pileus.kernel.process.runtime import Runtime

log = logging.getLogger(__name__)
L2_ROLE, L3_ROLE, DHCP_ROLE = "network-l2", "network-l3", "network-dhcp"


async def start_l2(rt: Runtime[Any]) -> None:
    """Start the L2 agent; `rt.config.agent` is its `AgentConfig`."""
    config: AgentConfig = rt.config.agent
    driver: L2Driver = FakeL2Driver()
    if config.l2_driver == "linuxbridge":
        uplink = Uplink(config.external_bridges, masquerade=config.masquerade)
        try:
            await uplink.ensure()  # before the agent looks for its bridges
        except (CommandError, OSError) as error:
            log.error("the host's uplink is not there yet: %s", error)
        rt.every(config.compare_interval_s, uplink.ensure, name="network uplink")
        driver = LinuxBridgeDriver(
            LinuxBridgeSettings(
                cloud=rt.node.config.cloud,
                physical_networks=config.physical_networks,
                tunnel_ip=config.tunnel_ip,
                vxlan_port=config.vxlan_port,
            )
        )
    _run(rt, L2Agent(_settings(rt), BusNetworkServer(rt.bus), driver))


async def start_l3(rt: Runtime[Any]) -> None:
    """Start the L3 agent."""
    config: AgentConfig = rt.config.agent
    if config.l3_driver == "fake":
        _run(rt, L3Agent(_settings(rt), BusNetworkServer(rt.bus), FakeL3Driver()))
        return
    driver: L3Driver = NetnsL3Driver(
        NetnsL3Settings(cloud=rt.node.config.cloud, detail_interval_s=config.compare_interval_s)
    )
    metadata = MetadataServer(BusMetadataBackend(rt.bus))
    _run(rt, L3Agent(_settings(rt), BusNetworkServer(rt.bus), driver, metadata))


async def start_dhcp(rt: Runtime[Any]) -> None:
    """Start the DHCP agent."""
    config: AgentConfig = rt.config.agent
    if config.dhcp_driver == "fake":
        _run(rt, DhcpAgent(_settings(rt), BusNetworkServer(rt.bus), FakeDhcpDriver()))
        return
    cloud = rt.node.config.cloud
    driver: DhcpDriver = DnsmasqDriver(
        DnsmasqSettings(
            cloud=cloud,
            run_dir=config.run_dir or f"/run/pileus/{cloud}/dhcp",
            detail_interval_s=config.compare_interval_s,
        )
    )
    metadata = MetadataServer(BusMetadataBackend(rt.bus))
    _run(rt, DhcpAgent(_settings(rt), BusNetworkServer(rt.bus), driver, metadata))


def _settings(rt: Runtime[Any]) -> AgentSettings:
    config: AgentConfig = rt.config.agent
    return AgentSettings(
        host=rt.host,
        state_dir=str(rt.state_dir),
        reconcile_interval_s=config.reconcile_interval_s,
        heartbeat_interval_s=config.heartbeat_interval_s,
    )


def _run(rt: Runtime[Any], agent: Agent[Any, Any]) -> None:
    async def changed(_: HostChanged) -> None:
        agent.ring()

    rt.bus.listen(agent_topic(agent.agent_type, rt.host), {HostChanged: changed})
    rt.put(agent)
    rt.spawn(agent.run(), name=f"network {agent.agent_type} agent")
