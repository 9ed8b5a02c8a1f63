"""One host's network agents as a process of their own, with the desired state in files.

Usage: agent_process.py DIRECTORY SETTINGS_JSON. Reads networks.json, routers.json and dhcp.json (structs of rpc.py),
writes reports.json; SIGHUP is the doorbell.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from pileus.services.network.drivers.dhcp.dnsmasq import DnsmasqDriver, DnsmasqSettings
from pileus.services.network.drivers.l2.linuxbridge import LinuxBridgeDriver, LinuxBridgeSettings
from pileus.services.network.drivers.l3.netns import NetnsL3Driver, NetnsL3Settings
from pileus.services.network.rpc import (
    AgentHeartbeat,
    HostDhcp,
    HostNetworks,
    HostRouters,
    MetadataRequest,
    MetadataResponse,
    ReportAccepted,
    ReportDhcp,
    ReportPorts,
    ReportRouters,
)
from pileus.services.network.worker.agent import AgentSettings
from pileus.services.network.worker.dhcp_agent import DhcpAgent
from pileus.services.network.worker.l2_agent import L2Agent
from pileus.services.network.worker.l3_agent import L3Agent
from pileus.services.network.worker.metadata import MetadataServer


class FileServer:
    """A network server whose database is a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reports: dict[str, Any] = {"ports": {}, "routers": {}, "dhcp": {}, "beats": {}, "generations": {}}

    def _read(self, name: str, kind: type[Any], empty: Any) -> Any:
        try:
            return msgspec.json.decode((self._directory / name).read_bytes(), type=kind)
        except FileNotFoundError:
            return empty

    async def fetch_networks(self, host: str) -> HostNetworks:
        return self._read("networks.json", HostNetworks, HostNetworks(host=host, generation=0))

    async def fetch_routers(self, host: str) -> HostRouters:
        return self._read("routers.json", HostRouters, HostRouters(host=host, generation=0))

    async def fetch_dhcp(self, host: str) -> HostDhcp:
        return self._read("dhcp.json", HostDhcp, HostDhcp(host=host, generation=0))

    def _accept(self, kind: str, generation: int, items: dict[str, Any]) -> ReportAccepted:
        self._reports[kind] |= items
        self._reports["generations"][kind] = generation
        temporary = self._directory / "reports.new"
        temporary.write_bytes(msgspec.json.encode(self._reports))
        os.replace(temporary, self._directory / "reports.json")
        return ReportAccepted()

    async def report_ports(self, report: ReportPorts) -> ReportAccepted:
        return self._accept("ports", report.generation, {item.port_id: item for item in report.ports})

    async def report_routers(self, report: ReportRouters) -> ReportAccepted:
        return self._accept("routers", report.generation, {item.router_id: item for item in report.routers})

    async def report_dhcp(self, report: ReportDhcp) -> ReportAccepted:
        return self._accept("dhcp", report.generation, {item.network_id: item for item in report.networks})

    async def heartbeat(self, beat: AgentHeartbeat) -> ReportAccepted:
        return self._accept("beats", 0, {beat.agent_type: beat})

    async def answer(self, request: MetadataRequest) -> MetadataResponse:
        """The guest's name by (network or router, address), from metadata.json; echoes the headers it was given."""
        known = json.loads((self._directory / "metadata.json").read_text())
        name = known.get(f"{request.network_id or request.router_id}/{request.source_ip}")
        if name is None:
            return MetadataResponse(404, body=b"not found")
        answer = {"name": name, "path": request.path, "headers": request.headers, "body": request.body.decode()}
        return MetadataResponse(200, "application/json", json.dumps(answer).encode())


async def main(directory: Path, given: dict[str, Any]) -> None:
    logging.basicConfig(level=logging.INFO, filename=directory / "agent.log")
    server = FileServer(directory)
    settings = AgentSettings(
        host=given["host"], state_dir=str(directory / "state"), reconcile_interval_s=given["pass_every_s"]
    )
    l2_settings = msgspec.convert(given["l2"], LinuxBridgeSettings)
    l3_settings = NetnsL3Settings(detail_interval_s=given["detail_s"])
    dhcp_settings = DnsmasqSettings(run_dir="/run/dhcp", detail_interval_s=given["detail_s"])
    agents = (
        L2Agent(settings, server, LinuxBridgeDriver(l2_settings)),
        L3Agent(settings, server, NetnsL3Driver(l3_settings), MetadataServer(server.answer)),
        DhcpAgent(
            settings, server, DnsmasqDriver(dhcp_settings), MetadataServer(server.answer)
        ),
    )
    loop = asyncio.get_running_loop()
    for agent in agents:
        loop.add_signal_handler(signal.SIGHUP, lambda: [agent.ring() for agent in agents])
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [asyncio.create_task(agent.run()) for agent in agents]
    waiter = asyncio.create_task(stop.wait())
    _done, _ = await asyncio.wait([*tasks, waiter], return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, waiter):
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, asyncio.CancelledError):
            raise result


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
