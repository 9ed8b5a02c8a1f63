"""Ports, floating IPs and segments in the network service's database. Agents learn it from the next generation."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.compute.db import FLOWS, servers
from pileus.services.compute.flows.create_server import FLOW, CreateServerData
from pileus.services.network.db import floating_ips, networks, ports
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.intents.floating_ips import disassociate
from pileus.services.network.db.intents.ports import delete_port, update_port
from pileus.verify.finding import Finding
from pileus.verify.repairs.repair import DONE, GONE, RepairFailed, Tools, outcome

AGENTS_REPORT_S = 60.0


async def give_back(tools: Tools, finding: Finding) -> str:
    """Delete a port that compute made for a server which is gone; one that its user made is handed back."""
    server, port = finding.resources["server"], finding.resources["port"]
    compute = tools.databases["compute"]
    if await compute.read(servers.get, server) is not None:
        return GONE
    given = await compute.read(_given_ports, server)
    made = given is not None and port not in given
    return outcome(
        await tools.databases["network"].write(_give_back, tools.installation.fabric(), port, server, made)
    )


def _given_ports(tx: Tx, server_id: str) -> set[str] | None:
    """The ports that the user gave to a server, from the flow that made it; None when that is not remembered."""
    f = FLOWS.flows.c
    row = tx.first(select(f.data).where(f.resource_id == server_id, f.name == FLOW.name, f.version == FLOW.version))
    if row is None:
        return None
    data = msgspec.json.decode(row.data, type=CreateServerData)
    return {nic.port_id for nic in data.nics if nic.port_id}


def _give_back(tx: Tx, fabric: Fabric, port_id: str, server_id: str, made: bool) -> bool:
    port = ports.get(tx, port_id)
    if port is None or port.device_id != server_id:
        return False
    if made:
        delete_port(tx, fabric, port, by_user=False)
    else:
        network = networks.get(tx, port.network_id)
        assert network is not None, "a foreign key holds it"
        update_port(tx, fabric, port, network, {"device_id": "", "device_owner": "", "host": ""})
    return True


async def delete(tools: Tools, finding: Finding) -> str:
    """Delete a port of the cloud's own that nothing of the cloud uses."""
    if not await tools.stands(finding, fresh=False):
        return GONE
    return outcome(
        await tools.databases["network"].write(_delete, tools.installation.fabric(), finding.resources["port"])
    )


def _delete(tx: Tx, fabric: Fabric, port_id: str) -> bool:
    port = ports.get(tx, port_id)
    if port is None:
        return False
    delete_port(tx, fabric, port, by_user=False)
    return True


async def lead_nowhere(tools: Tools, finding: Finding) -> str:
    """Have a floating IP lead nowhere; its owner keeps it."""
    database, fabric = tools.databases["network"], tools.installation.fabric()
    return outcome(await database.write(_lead_nowhere, fabric, finding.resources))


def _lead_nowhere(tx: Tx, fabric: Fabric, resources: Any) -> bool:
    item = floating_ips.get(tx, resources["floating_ip"])
    if item is None or item.port_id != resources["port"]:
        return False
    port = ports.get(tx, resources["port"])
    if port is not None and item.fixed_ip_address in {address.ip_address for address in port.fixed_ips}:
        return False
    disassociate(tx, fabric, item)
    return True


async def claim_segment(tools: Tools, finding: Finding) -> str:
    """Reserve the segment that a network uses."""
    if finding.facts["holder"]:
        raise RepairFailed(f"the segment is reserved for network {finding.facts['holder']}")
    network_id, (kind, physical, number) = finding.resources["network"], finding.facts["segment"]
    database = tools.databases["network"]
    if await database.read(networks.get_bare, network_id) is None:
        return GONE
    if not await database.write(networks.claim_segment, network_id, kind, physical, number):
        raise RepairFailed("another network has reserved it meanwhile")
    return DONE


async def ask_agents(tools: Tools, finding: Finding) -> str:
    """Have the agents of the port's host look again and report."""
    database, fabric = tools.databases["network"], tools.installation.fabric()
    await database.write(_ask_agents, fabric, finding.host)
    if not tools.is_running:
        raise RepairFailed("the agents do it once the cloud runs: start it")
    if not await tools.goes(finding, AGENTS_REPORT_S):
        raise RepairFailed(f"no agent has reported it ACTIVE within {AGENTS_REPORT_S:.0f} s; see the log")
    return DONE


def _ask_agents(tx: Tx, fabric: Fabric, host: str) -> None:
    for kind in ("l2", "dhcp"):
        fabric.changed(tx, kind, [host])
