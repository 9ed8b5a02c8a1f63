"""Rows of servers are made what their servers are."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.services.compute import states
from pileus.services.compute.db import FLOWS, faults, servers
from pileus.services.compute.db.faults import NewFault
from pileus.verify.finding import Finding
from pileus.verify.repairs.repair import GONE, Tools, outcome

INTERRUPTED = NewFault(500, "The operation was interrupted, and nothing works on it any more.")
DISK_LOST = NewFault(500, "The server's disk is gone from its host.")


async def give_up(tools: Tools, finding: Finding) -> str:
    """End what nobody works on, as its flow would have: an unfinished or half-deleted server is in ERROR, any other
    is back in the state that it was in."""
    return outcome(await _write(tools, finding, _give_up))


def _give_up(tx: Tx, server: servers.Server) -> bool:
    if FLOWS.active(tx, server.id):
        return False
    broken = server.vm_state == states.BUILDING or server.task_state == states.DELETING
    vm_state = states.ERROR if broken else server.vm_state
    return _end(tx, server, INTERRUPTED, vm_state=vm_state)


async def stop(tools: Tools, finding: Finding) -> str:
    """Say that a server which does not run is stopped; its owner can start it."""
    if not await tools.stands(finding):
        return GONE
    return outcome(await _write(tools, finding, _stop))


def _stop(tx: Tx, server: servers.Server) -> bool:
    if server.vm_state != states.ACTIVE or server.task_state is not None:
        return False
    return servers.finish(
        tx, server.id, server.generation, vm_state=states.STOPPED, power_state=states.SHUT_DOWN
    )


async def give_up_disk(tools: Tools, finding: Finding) -> str:
    """Say that a server has lost its disk."""
    if not await tools.stands(finding):
        return GONE
    return outcome(await _write(tools, finding, _lose_disk))


def _lose_disk(tx: Tx, server: servers.Server) -> bool:
    return server.task_state is None and _end(tx, server, DISK_LOST, vm_state=states.ERROR)


async def recount(tools: Tools, finding: Finding) -> str:
    """Have a server count as its flavor says."""
    return outcome(await tools.databases["compute"].write(_recount, finding.resources["server"]))


def _recount(tx: Tx, server_id: str) -> bool:
    server = servers.get(tx, server_id)
    if server is None:
        return False
    return servers.change(tx, server_id, vcpus=server.flavor.vcpus, ram_mib=server.flavor.ram_mib)


async def _write(tools: Tools, finding: Finding, change: Any) -> bool:
    """Run a change on the server if it is still as it was found."""

    def swap(tx: Tx) -> bool:
        server = servers.get(tx, finding.resources["server"])
        if server is None or server.generation != finding.facts["generation"]:
            return False
        return change(tx, server)

    return await tools.databases["compute"].write(swap)


def _end(tx: Tx, server: servers.Server, fault: NewFault, **values: Any) -> bool:
    ended = servers.finish(tx, server.id, server.generation, **values)
    if ended:
        faults.insert(tx, server.id, fault)
    return ended
