"""The L2 agent: networks and ports of one host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pileus.services.network.drivers.interfaces import L2Driver
from pileus.services.network.rpc import HostNetworks, PortReport, ReportAccepted, ReportPorts

from .agent import Agent, AgentSettings
from .server import NetworkServer


class L2Agent(Agent[HostNetworks, PortReport]):
    """See `Agent`."""

    agent_type = "l2"
    binary = "pileus-l2-agent"
    description = "Linux bridge agent"
    state_type = HostNetworks

    def __init__(self, settings: AgentSettings, server: NetworkServer, driver: L2Driver) -> None:
        super().__init__(settings, server)
        self._driver = driver

    async def start_driver(self, changed: Callable[[], None], last: HostNetworks | None) -> None:
        await self._driver.start(changed, last)

    async def close_driver(self) -> None:
        await self._driver.close()

    async def fetch(self) -> HostNetworks:
        return await self.server.fetch_networks(self.settings.host)

    async def apply(self, state: HostNetworks) -> dict[str, PortReport]:
        return {report.port_id: report for report in await self._driver.apply(state)}

    async def send(self, generation: int, reports: tuple[PortReport, ...]) -> ReportAccepted:
        report = ReportPorts(host=self.settings.host, generation=generation, ports=reports)
        return await self.server.report_ports(report)

    def fault_of(self, report: PortReport) -> str:
        return report.reason if report.status == "ERROR" else ""

    def configurations(self) -> dict[str, Any]:
        return self._driver.configurations()

    def resource_counts(self, state: HostNetworks) -> dict[str, int]:
        return {"devices": len(state.ports), "networks": len(state.networks)}
