"""What agents tell: heartbeats, and how far they are with ports, routers and DHCP."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.network import states
from pileus.services.network.db import agents, ports, routers
from pileus.services.network.db.floating_ips import FLOATING_IPS
from pileus.services.network.db.intents import binding
from pileus.services.network.db.intents.fabric import Fabric, hosts_of_network
from pileus.services.network.db.metadata import revise
from pileus.services.network.db.ports import ADDRESSES, PORTS
from pileus.services.network.db.routers import ROUTERS
from pileus.services.network.rpc import (
    AgentHeartbeat,
    FindMetadataPort,
    MetadataPort,
    ReportAccepted,
    ReportDhcp,
    ReportPorts,
    ReportRouters,
)

log = logging.getLogger(__name__)

AGENT_TYPES = {"l2": "Linux bridge agent", "l3": "L3 agent", "dhcp": "DHCP agent"}


def heartbeat(tx: Tx, fabric: Fabric, beat: AgentHeartbeat) -> ReportAccepted:
    """An agent lives. A changed tunnel address concerns all hosts that flood to it."""
    before = agents.on_host(tx, beat.agent_type, beat.host)
    values = {
        "binary": beat.binary, "agent_type": AGENT_TYPES[beat.agent_type], "description": beat.description,
        "configurations": beat.configurations, "resource_counts": beat.resource_counts,
        "started_at": _time(beat.started_at, tx.now()), "heartbeat_at": tx.now(),
    }  # fmt: skip
    if before is not None:
        del values["description"]  # an operator may have changed it
    agents.beat(tx, beat.agent_type, beat.host, values | ({} if before else {"description": beat.description}))
    if beat.agent_type == "l2":
        old = before.configurations.get("tunneling_ip") if before is not None else None
        if old != beat.configurations.get("tunneling_ip"):
            _tell_neighbours(tx, fabric, beat.host)
    return ReportAccepted(agents.generation(tx, beat.agent_type, beat.host))


def _time(text: str, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return otherwise


def _tell_neighbours(tx: Tx, fabric: Fabric, host: str) -> None:
    statement = select(PORTS.c.network_id).where(PORTS.c.host == host).distinct()
    hosts: set[str] = set()
    for row in tx.all(statement):
        hosts |= hosts_of_network(tx, row.network_id)
    fabric.changed(tx, "l2", hosts)


def ports_reported(tx: Tx, fabric: Fabric, report: ReportPorts) -> ReportAccepted:
    """Ports came up or went down on a host. What is older than a port's binding does not count."""
    told = {item.port_id: item for item in report.ports}
    c = PORTS.c
    rows = tx.all(select(c.id, c.l2_up, c.l2_generation, c.status).where(c.host == report.host))
    # Most of a report is known already: an agent tells all its ports again with every new generation.
    turned: dict[bool, list[str]] = {True: [], False: []}
    failed, waiting = [], []
    for row in rows:
        item = told.get(row.id)
        if item is None or report.generation < row.l2_generation:
            continue
        if item.status == states.ERROR and row.status != states.ERROR:
            log.warning("port %s on %s: %s", row.id, report.host, item.reason)
            failed.append(row.id)
        if (up := item.status == states.ACTIVE) != row.l2_up:
            turned[up].append(row.id)
        elif up and row.status != states.ACTIVE:
            waiting.append(row.id)  # for DHCP, perhaps no longer
    for up, ids in turned.items():
        if ids:
            tx.execute(PORTS.update().where(c.id.in_(ids)).values(l2_up=up))
    if concerned := {*turned[True], *turned[False], *failed, *waiting}:
        binding.refresh_status(tx, fabric, concerned, failed=failed)
    return ReportAccepted(agents.generation(tx, "l2", report.host))


def dhcp_reported(tx: Tx, fabric: Fabric, report: ReportDhcp) -> ReportAccepted:
    """Leases are provisioned."""
    for network in report.networks:
        if network.status == states.ERROR:
            log.warning("DHCP of network %s on %s: %s", network.network_id, report.host, network.reason)
    mine = agents.dhcp_of_host(tx, report.host)
    ready = {pid for item in report.networks if item.network_id in mine for pid in item.port_ids}
    rows = tx.all(
        select(PORTS.c.id).where(
            PORTS.c.network_id.in_(list(mine)), ~PORTS.c.dhcp_ready, PORTS.c.dhcp_generation <= report.generation
        )
    )  # fmt: skip
    ids = [row.id for row in rows if row.id in ready]
    if ids:
        tx.execute(PORTS.update().where(PORTS.c.id.in_(ids)).values(dhcp_ready=True))
        binding.refresh_status(tx, fabric, ids)
    return ReportAccepted(agents.generation(tx, "dhcp", report.host))


def routers_reported(tx: Tx, fabric: Fabric, report: ReportRouters) -> ReportAccepted:
    """Routers and their floating IPs work, or do not."""
    for item in report.routers:
        placed = tx.scalar(select(ROUTERS.c.host).where(ROUTERS.c.id == item.router_id))
        if placed != report.host:
            continue
        if item.status == states.ERROR:
            log.warning("router %s on %s: %s", item.router_id, report.host, item.reason)
        if tx.scalar(select(ROUTERS.c.status).where(ROUTERS.c.id == item.router_id)) != item.status:
            revise(tx, ROUTERS, (item.router_id,), {"status": item.status})
        c = FLOATING_IPS.c
        for row in tx.all(select(c.id, c.status).where(c.router_id == item.router_id, c.port_id.is_not(None))):
            status = states.ACTIVE if row.id in item.floating_ips else row.status
            if status != row.status:
                revise(tx, FLOATING_IPS, (row.id,), {"status": status})
    return ReportAccepted(agents.generation(tx, "l3", report.host))


def metadata_port(tx: Tx, question: FindMetadataPort) -> MetadataPort:
    """The port with an address in one network, or in a network behind one router: never any other."""
    if question.network_id is not None:
        among = {question.network_id}
    elif question.router_id is not None:
        among = {p.port.network_id for p in routers.plugs(tx, (question.router_id,), routers.INTERFACE)}
    else:
        return MetadataPort()
    statement = (
        select(PORTS.c.id).join(ADDRESSES, ADDRESSES.c.port_id == PORTS.c.id)
        .where(ADDRESSES.c.ip_address == question.source_ip, PORTS.c.network_id.in_(sorted(among)), ~PORTS.c.trusted)
    )  # fmt: skip
    ids = [row.id for row in tx.all(statement.limit(2))]
    port = ports.get(tx, ids[0]) if len(ids) == 1 else None
    if port is None:
        return MetadataPort()
    return MetadataPort(port_id=port.id, device_id=port.device_id, project_id=port.project_id)
