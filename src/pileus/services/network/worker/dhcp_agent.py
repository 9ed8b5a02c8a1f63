"""The DHCP agent: address service of the networks of one host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pileus.services.network.drivers.interfaces import DhcpDriver
from pileus.services.network.rpc import DhcpReport, HostDhcp, ReportAccepted, ReportDhcp

from .agent import Agent, AgentSettings
from .metadata import MetadataServer
from .server import NetworkServer


class DhcpAgent(Agent[HostDhcp, DhcpReport]):
    """See `Agent`. With a metadata server, also answers for guests of networks that ask for it."""

    agent_type = "dhcp"
    binary = "pileus-dhcp-agent"
    description = "DHCP agent"
    state_type = HostDhcp

    def __init__(
        self,
        settings: AgentSettings,
        server: NetworkServer,
        driver: DhcpDriver,
        metadata: MetadataServer | None = None,
    ) -> None:
        super().__init__(settings, server)
        self._driver = driver
        self._metadata = metadata

    async def start_driver(self, changed: Callable[[], None], last: HostDhcp | None) -> None:
        await self._driver.start(changed, last)

    async def close_driver(self) -> None:
        if self._metadata is not None:
            await self._metadata.close()
        await self._driver.close()

    async def fetch(self) -> HostDhcp:
        return await self.server.fetch_dhcp(self.settings.host)

    async def apply(self, state: HostDhcp) -> dict[str, DhcpReport]:
        wanted = {network.id for network in state.networks if network.metadata}
        if self._metadata is not None:
            await self._metadata.keep_networks(wanted)
        reports = {report.network_id: report for report in await self._driver.apply(state)}
        if self._metadata is not None:
            ready = {key for key, report in reports.items() if report.status == "ACTIVE"}
            await self._metadata.serve_networks(wanted & ready)
        return reports

    async def send(self, generation: int, reports: tuple[DhcpReport, ...]) -> ReportAccepted:
        report = ReportDhcp(host=self.settings.host, generation=generation, networks=reports)
        return await self.server.report_dhcp(report)

    def fault_of(self, report: DhcpReport) -> str:
        return report.reason if report.status == "ERROR" else ""

    def configurations(self) -> dict[str, Any]:
        return self._driver.configurations()

    def resource_counts(self, state: HostDhcp) -> dict[str, int]:
        return {
            "networks": len(state.networks),
            "subnets": sum(len(network.subnets) for network in state.networks),
            "ports": sum(len(network.hosts) for network in state.networks),
        }
