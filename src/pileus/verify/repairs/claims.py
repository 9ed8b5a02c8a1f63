"""Claims in placement are made what their servers need."""

from __future__ import annotations

from pileus.kernel.db import Tx
from pileus.kernel.errors import ServiceError
from pileus.services.compute.clients.placement import INSTANCE
from pileus.services.compute.db import hypervisors, servers
from pileus.services.compute.db.servers import Server
from pileus.services.compute.logic.resources import needs
from pileus.services.placement.db import allocations, claims
from pileus.services.placement.db.claims import Claim
from pileus.services.placement.errors import NoAllocations
from pileus.verify.finding import Finding
from pileus.verify.repairs.repair import DONE, GONE, RepairFailed, Tools

NOBODY = ("", "")


async def release(tools: Tools, finding: Finding) -> str:
    """Give back what a server that does not exist has claimed."""
    consumer = finding.resources["consumer"]
    if await tools.databases["compute"].read(servers.get, consumer) is not None:
        return GONE
    try:
        await tools.databases["placement"].write(claims.remove, consumer)
    except NoAllocations:
        return GONE
    return DONE


async def claim(tools: Tools, finding: Finding) -> str:
    """Claim what the server needs where it is, instead of what it has."""
    server, provider = await tools.databases["compute"].read(_resting, finding.resources["server"])
    if server is None:
        return GONE
    if provider is None:
        raise RepairFailed(f"{server.host} is not known as a hypervisor")
    return await _replace(tools, server, {provider: needs(server.flavor)})


async def book(tools: Tools, finding: Finding) -> str:
    """Book a claim to its server's project and user."""
    server = await tools.databases["compute"].read(servers.get, finding.resources["server"])
    shares = await tools.databases["placement"].read(allocations.of_consumer, finding.resources["server"])
    if server is None or not shares:
        return GONE
    return await _replace(tools, server, {share.provider_uuid: share.resources for share in shares})


def _resting(tx: Tx, server_id: str) -> tuple[Server | None, str | None]:
    """A server to which nothing is being done, and its host's provider."""
    server = servers.get(tx, server_id)
    if server is None or server.task_state is not None or server.host is None:
        return None, None
    hypervisor = hypervisors.of_host(tx, server.host)
    return server, hypervisor.uuid if hypervisor else None


async def _replace(tools: Tools, server: Server, wanted: dict[str, dict[str, int]]) -> str:
    new = Claim(
        consumer_uuid=server.id, allocations=wanted, project_id=server.project_id, user_id=server.user_id,
        consumer_type=INSTANCE,
    )  # fmt: skip
    try:
        await tools.databases["placement"].write(claims.replace, [new], NOBODY)
    except ServiceError as error:
        raise RepairFailed(error.text) from error
    return DONE
