"""The agents' loop over a real bus with fake drivers: converge, report, survive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pileus.kernel.bus import LocalBus
from pileus.services.network.drivers.dhcp.fake import FakeDhcpDriver
from pileus.services.network.drivers.l2.fake import FakeL2Driver
from pileus.services.network.drivers.l3.fake import FakeL3Driver
from pileus.services.network.rpc import (
    SERVER_TOPIC,
    AgentHeartbeat,
    DhcpHost,
    DhcpNetwork,
    FetchHostDhcp,
    FetchHostNetworks,
    FetchHostRouters,
    FloatingIp,
    HostDhcp,
    HostNetworks,
    HostPort,
    HostRouter,
    HostRouters,
    ReportAccepted,
    ReportDhcp,
    ReportPorts,
    ReportRouters,
)
from pileus.services.network.worker.agent import Agent, AgentSettings
from pileus.services.network.worker.bus_server import BusNetworkServer
from pileus.services.network.worker.dhcp_agent import DhcpAgent
from pileus.services.network.worker.l2_agent import L2Agent
from pileus.services.network.worker.l3_agent import L3Agent


class Server:
    """The server side, in memory."""

    def __init__(self, bus: LocalBus) -> None:
        self.networks = HostNetworks(host="h", generation=1)
        self.routers = HostRouters(host="h", generation=1)
        self.dhcp = HostDhcp(host="h", generation=1)
        self.reports: list[Any] = []
        self.beats: list[AgentHeartbeat] = []
        self.next_networks: HostNetworks | None = None  # becomes the truth while a report is under way, unrung
        handlers = {
            FetchHostNetworks: self._answer(lambda: self.networks),
            FetchHostRouters: self._answer(lambda: self.routers),
            FetchHostDhcp: self._answer(lambda: self.dhcp),
            ReportPorts: self._report,
            ReportRouters: self._report,
            ReportDhcp: self._report,
            AgentHeartbeat: self._beat,
        }
        self._bus, self._handlers = bus, handlers
        self.stop = bus.listen(SERVER_TOPIC, handlers)

    def start_again(self) -> None:
        self.stop = self._bus.listen(SERVER_TOPIC, self._handlers)

    def _answer(self, value: Callable[[], Any]) -> Any:
        async def handle(_: Any) -> Any:
            return value()

        return handle

    async def _report(self, report: Any) -> ReportAccepted:
        self.reports.append(report)
        if self.next_networks is not None:
            self.networks, self.next_networks = self.next_networks, None
        return ReportAccepted(self.networks.generation)

    async def _beat(self, beat: AgentHeartbeat) -> ReportAccepted:
        self.beats.append(beat)
        return ReportAccepted()


async def until(probe: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not probe():
            await asyncio.sleep(0.005)


def port(number: int) -> HostPort:
    return HostPort(id=f"p{number}", network_id="n", device_name=f"tap{number}", mac_address="fa:16:3e:00:00:01")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Any]:
    bus = LocalBus()
    tasks: list[asyncio.Task[None]] = []
    settings = AgentSettings(
        host="h", state_dir=str(tmp_path), reconcile_interval_s=30, retry_s=0.01, settle_s=0, heartbeat_interval_s=30
    )
    yield Server(bus), BusNetworkServer(bus), settings, tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_all_agents_converge_and_report(place: Any) -> None:
    server, link, settings, tasks = place
    server.networks = HostNetworks(host="h", generation=4, ports=(port(1),))
    floating = FloatingIp(id="f", floating_ip_address="203.0.113.5", fixed_ip_address="10.0.0.5", port_id="p1")
    server.routers = HostRouters(host="h", generation=5, routers=(HostRouter(id="r", floating_ips=(floating,)),))
    dhcp = DhcpNetwork(id="n", port_id="d", mac_address="fa:16:3e:00:00:02", mtu=1450, fixed_ips=(),
                       hosts=(DhcpHost(port_id="p1", mac_address="fa:16:3e:00:00:01"),))  # fmt: skip
    server.dhcp = HostDhcp(host="h", generation=6, networks=(dhcp,))
    agents: list[Agent[Any, Any]] = [
        L2Agent(settings, link, FakeL2Driver()),
        L3Agent(settings, link, FakeL3Driver()),
        DhcpAgent(settings, link, FakeDhcpDriver()),
    ]
    tasks += [asyncio.create_task(agent.run()) for agent in agents]
    await until(lambda: len(server.reports) == 3 and len(server.beats) == 3)
    found = {type(report): report for report in server.reports}
    assert found[ReportPorts].ports[0].status == "ACTIVE"
    assert found[ReportPorts].generation == 4
    assert found[ReportRouters].routers[0].floating_ips == ("f",)
    assert found[ReportDhcp].networks[0].port_ids == ("p1",)
    assert {beat.agent_type for beat in server.beats} == {"l2", "l3", "dhcp"}
    assert all(beat.fresh_start for beat in server.beats)


async def test_older_answers_are_ignored(place: Any) -> None:
    server, link, settings, tasks = place
    server.networks = HostNetworks(host="h", generation=9, ports=(port(1),))
    driver = FakeL2Driver()
    agent = L2Agent(settings, link, driver)
    tasks.append(asyncio.create_task(agent.run()))
    await until(lambda: driver.generation == 9)
    server.networks = HostNetworks(host="h", generation=8)
    agent.ring()
    await until(lambda: not agent._must_fetch)
    server.networks = HostNetworks(host="h", generation=10, ports=(port(1), port(2)))
    agent.ring()
    await until(lambda: driver.generation == 10)
    assert set(driver.ports) == {"p1", "p2"}


async def test_without_server_the_journal_is_kept_up_and_the_server_is_found_again(place: Any) -> None:
    server, link, settings, tasks = place
    server.networks = HostNetworks(host="h", generation=3, ports=(port(1),))
    first = FakeL2Driver()
    tasks.append(asyncio.create_task(L2Agent(settings, link, first).run()))
    await until(lambda: server.reports)
    tasks[0].cancel()
    server.stop()
    second = FakeL2Driver()
    tasks.append(asyncio.create_task(L2Agent(settings, link, second).run()))
    await until(lambda: second.ports)
    server.networks = HostNetworks(host="h", generation=4, ports=(port(1), port(2)))
    server.start_again()
    await until(lambda: second.generation == 4)


async def test_a_lost_doorbell_is_noticed_by_the_next_answer(place: Any) -> None:
    server, link, settings, tasks = place
    server.networks = HostNetworks(host="h", generation=3, ports=(port(1),))
    server.next_networks = HostNetworks(host="h", generation=4, ports=(port(2),))
    driver = FakeL2Driver()
    tasks.append(asyncio.create_task(L2Agent(settings, link, driver).run()))
    await until(lambda: driver.generation == 4)


async def test_a_broken_journal_does_not_stop_the_agent(place: Any, tmp_path: Path) -> None:
    server, link, settings, tasks = place
    (tmp_path / "network-l2.json").write_text("{broken")
    server.networks = HostNetworks(host="h", generation=3, ports=(port(1),))
    driver = FakeL2Driver()
    tasks.append(asyncio.create_task(L2Agent(settings, link, driver).run()))
    await until(lambda: driver.generation == 3)


async def test_a_driver_that_fails_is_tried_again(place: Any) -> None:
    server, link, settings, tasks = place
    server.networks = HostNetworks(host="h", generation=3, ports=(port(1),))

    class Flaky(FakeL2Driver):
        failures = 2

        async def apply(self, desired: HostNetworks) -> Any:
            if self.failures:
                self.failures -= 1
                raise OSError("not now")
            return await super().apply(desired)

    tasks.append(asyncio.create_task(L2Agent(settings, link, Flaky()).run()))
    await until(lambda: server.reports)
    assert server.reports[0].ports[0].status == "ACTIVE"
