"""The L3 agent: routers of one host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pileus.services.network.drivers.interfaces import L3Driver
from pileus.services.network.rpc import HostRouters, ReportAccepted, ReportRouters, RouterReport

from .agent import Agent, AgentSettings
from .metadata import MetadataServer
from .server import NetworkServer


class L3Agent(Agent[HostRouters, RouterReport]):
    """See `Agent`. With a metadata server, also answers for guests behind its routers."""

    agent_type = "l3"
    binary = "pileus-l3-agent"
    description = "L3 agent"
    state_type = HostRouters

    def __init__(
        self,
        settings: AgentSettings,
        server: NetworkServer,
        driver: L3Driver,
        metadata: MetadataServer | None = None,
    ) -> None:
        super().__init__(settings, server)
        self._driver = driver
        self._metadata = metadata

    async def start_driver(self, changed: Callable[[], None], last: HostRouters | None) -> None:
        await self._driver.start(changed, last)

    async def close_driver(self) -> None:
        if self._metadata is not None:
            await self._metadata.close()
        await self._driver.close()

    async def fetch(self) -> HostRouters:
        return await self.server.fetch_routers(self.settings.host)

    async def apply(self, state: HostRouters) -> dict[str, RouterReport]:
        if self._metadata is not None:
            await self._metadata.keep_routers({router.id for router in state.routers if router.admin_state_up})
        reports = {report.router_id: report for report in await self._driver.apply(state)}
        if self._metadata is not None:
            ready = {key for key, report in reports.items() if report.status == "ACTIVE"}
            await self._metadata.serve_routers(
                {router.id for router in state.routers if router.admin_state_up and router.id in ready}
            )
        return reports

    async def send(self, generation: int, reports: tuple[RouterReport, ...]) -> ReportAccepted:
        report = ReportRouters(host=self.settings.host, generation=generation, routers=reports)
        return await self.server.report_routers(report)

    def fault_of(self, report: RouterReport) -> str:
        return report.reason if report.status == "ERROR" else ""

    def configurations(self) -> dict[str, Any]:
        return self._driver.configurations()

    def resource_counts(self, state: HostRouters) -> dict[str, int]:
        return {
            "routers": len(state.routers),
            "ex_gw_ports": sum(router.gateway is not None for router in state.routers),
            "interfaces": sum(len(router.interfaces) for router in state.routers),
            "floating_ips": sum(len(router.floating_ips) for router in state.routers),
        }
