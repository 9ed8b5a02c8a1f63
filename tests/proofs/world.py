"""All that a cloud with fake drivers is at a moment: every database, every fake driver, every file. Two of them can be
compared; what changes by the mere passing of time is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import msgspec
from sqlalchemy import select

from cloud import Cloud
from pileus.kernel.db import Tx, UtcDateTime
from pileus.services.compute.db.servers import SERVERS
from pileus.services.compute.worker.agent import ComputeAgent
from pileus.services.network.worker.dhcp_agent import DhcpAgent
from pileus.services.network.worker.l2_agent import L2Agent
from pileus.services.network.worker.l3_agent import L3Agent

World = dict[str, list[str]]
"""By place (`compute.servers`, `hypervisor`, ...): a sorted text for each thing there."""

JOURNALS = ("flows", "flow_journal", "alembic_version")
VOLATILE_COLUMNS = {
    "generation", "l2_generation", "dhcp_generation", "l3_generation",  # rise with every intent
    "revision_number",
    "report", "reported_at",  # of hosts: free memory and the like
    "configurations", "resource_counts",  # of agents: what they said last
}
KEPT_FOR_HISTORY = {"servers": "id", "server_faults": "server_id"}
"""Tables whose rows stay for a while after their server is gone, and their column of the server."""
LIVE = SERVERS.c.deleted_at.is_(None)
FILES_LEFT_OUT = re.compile(r"^(db/|secrets\.json|identity/|compute/fake-guests\.json|compute/destroyed/|.*\.new$)")

_SAME = (  # what differs between two runs that did the same
    (re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"fa:16:3e(:[0-9a-f]{2}){3}"), "<mac>"),
    (re.compile(r"\b10(\.\d{1,3}){3}\b"), "<ip>"),
    (re.compile(r"pileus-[0-9a-f]{8}-[0-9a-f]{4}"), "<guest>"),
    (re.compile(r"\br-[a-z0-9]{8}\b"), "<reservation>"),
    (re.compile(r'"id":\d+'), '"id":<n>'),
)


def look(cloud: Cloud) -> World:
    """The cloud as it is now."""
    assert cloud.node is not None
    world: World = {}
    for kind, runtime in cloud.node.runtimes.items():
        if (metadata := runtime.service.metadata()) is not None:
            tables = [table for table in metadata.sorted_tables if table.name not in JOURNALS]
            world |= cloud.run(runtime.db.read(_rows, kind, tables))
    world |= cloud.run(_drivers(cloud))
    root = Path(cloud.state_dir)
    files = (str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    world["files"] = sorted(name for name in files if not FILES_LEFT_OUT.match(name))
    return {place: things for place, things in world.items() if things}


def alike(world: World) -> World:
    """The same for two runs that did the same: without ids and addresses."""
    masked = {}
    for place, things in world.items():
        masked[place] = sorted(_masked(thing) for thing in things)
    return masked


def without(world: World, places: tuple[str, ...], resource_id: str) -> World:
    """Without what is about the resource, in these places."""
    kept = {p: [t for t in things if p not in places or resource_id not in t] for p, things in world.items()}
    return {place: things for place, things in kept.items() if things}


def difference(before: World, after: World) -> str:
    """What is more (+) and what is less (-), one line each; "" when nothing is."""
    lines = []
    for place in sorted(before.keys() | after.keys()):
        old, new = list(before.get(place, ())), list(after.get(place, ()))
        for thing in [*old]:
            if thing in new:
                old.remove(thing)
                new.remove(thing)
        lines += [f"- {place}: {thing}" for thing in old] + [f"+ {place}: {thing}" for thing in new]
    return "\n".join(lines)


def _masked(thing: str) -> str:
    for pattern, word in _SAME:
        thing = pattern.sub(word, thing)
    return thing


def _rows(tx: Tx, service: str, tables: list[Any]) -> World:
    return {f"{service}.{table.name}": sorted(_texts(tx, table)) for table in tables}


def _texts(tx: Tx, table: Any) -> list[str]:
    columns = [c for c in table.c if not isinstance(c.type, UtcDateTime) and c.name not in VOLATILE_COLUMNS]
    statement = select(*columns)
    if table.name in KEPT_FOR_HISTORY:
        statement = statement.where(table.c[KEPT_FOR_HISTORY[table.name]].in_(select(SERVERS.c.id).where(LIVE)))
    rows = [dict(row._mapping) for row in tx.all(statement)]
    return [msgspec.json.encode(row, order="sorted", enc_hook=repr).decode() for row in rows]


async def _drivers(cloud: Cloud) -> World:
    assert cloud.node is not None
    compute, network = cloud.node.runtimes["compute"], cloud.node.runtimes["network"]
    agent = compute.get(ComputeAgent)
    guests = await agent.hypervisor.list_guests()
    l2, dhcp, l3 = (cast("Any", network.get(kind)._driver) for kind in (L2Agent, DhcpAgent, L3Agent))  # the fake ones
    return {
        "guests": sorted(f"{guest.server_id} {guest.power_state}" for guest in guests),
        "agent's journal": sorted(f"{r.server_id} {r.phase} {r.desired}" for r in agent.journal.all()),
        "wired ports": sorted(l2.ports),
        "leases": sorted(f"{net.id} {host.port_id}" for net in dhcp.networks.values() for host in net.hosts),
        "routers": sorted(f"{router.id} {sorted(f.id for f in router.floating_ips)}" for router in l3.routers.values()),
    }
