"""Guests, taps and directories of servers on this host. Only what carries this cloud's mark is touched."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pileus.kernel.host import links
from pileus.services.compute.db import servers
from pileus.services.compute.drivers.hypervisor.interface import Hypervisor, HypervisorError
from pileus.services.compute.worker.hooks.taps import server_of
from pileus.services.compute.worker.paths import AgentPaths
from pileus.verify.evidence.guests import read_processes
from pileus.verify.finding import Finding
from pileus.verify.repairs.repair import DONE, GONE, RepairFailed, Tools

T = TypeVar("T")
AGENT_ACTS_S = 15.0


async def end(tools: Tools, finding: Finding) -> str:
    """End the guest and forget it; its devices go with it, its files are a finding of their own."""
    server_id = finding.resources["server"]
    if not await tools.stands(finding) or not await _may_go(tools, server_id):
        return GONE
    await _with_hypervisor(tools, lambda hypervisor: hypervisor.undefine(server_id))
    await _end_process(tools, server_id)
    for link in (await links.list_links()).values():
        if server_of(link.alias, tools.installation.node.cloud) == server_id and link.kind == "tun":
            await links.delete_link(link.name)
    return DONE


async def _may_go(tools: Tools, server_id: str) -> bool:
    """Whether nothing of the server should be on this host."""
    server = await tools.databases["compute"].read(servers.get, server_id)
    elsewhere = server is not None and server.task_state is None and server.host != tools.installation.node.host
    return server is None or elsewhere


async def _end_process(tools: Tools, server_id: str) -> None:
    """A QEMU that the hypervisor knows nothing of."""
    instances = tools.installation.guests_dir / "instances"
    pid = (await read_processes(instances)).get(server_id)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


async def power_off(tools: Tools, finding: Finding) -> str:
    """Power off a guest that should not run. The agent does so when it lives."""
    if tools.is_running and await tools.goes(finding, AGENT_ACTS_S):
        return DONE
    if not await tools.stands(finding):
        return GONE
    await _with_hypervisor(tools, lambda hypervisor: hypervisor.power_off(finding.resources["server"]))
    return DONE


async def remove_directory(tools: Tools, finding: Finding) -> str:
    """Remove the files of a server that is not here."""
    server_id = finding.resources["server"]
    if not await tools.stands(finding) or not await _may_go(tools, server_id):
        return GONE
    evidence = tools.evidence
    if evidence is not None and (server_id in (evidence.guests or {}) or server_id in (evidence.processes or {})):
        raise RepairFailed("a guest still has them")
    directory = AgentPaths(tools.installation.guests_dir).server(server_id).directory
    await asyncio.to_thread(shutil.rmtree, directory)
    return DONE


async def remove_device(tools: Tools, finding: Finding) -> str:
    """Remove a tap (or a port's pair of devices) that belongs to no port."""
    if not await tools.stands(finding):
        return GONE
    await links.delete_link(finding.resources["device"])
    return DONE


async def _with_hypervisor(tools: Tools, work: Callable[[Hypervisor], Awaitable[T]]) -> T:
    from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor  # needs the C library

    installation = tools.installation
    hypervisor = LibvirtHypervisor(cloud=installation.node.cloud, state_dir=installation.guests_dir)
    try:
        await hypervisor.open()
        return await work(hypervisor)
    except HypervisorError as error:
        raise RepairFailed(str(error)) from error
    finally:
        await hypervisor.close()
