"""Collecting what the views of servers need beside their rows."""

from __future__ import annotations

from pileus.kernel.db import Tx
from pileus.services.compute.api.servers.view import ServerExtras
from pileus.services.compute.db import faults, server_groups, services, tags
from pileus.services.compute.db.servers import Server


def host_states(tx: Tx) -> dict[str, str]:
    """The word for each compute host's state."""
    now, found = tx.now(), {}
    for row in services.all_rows(tx, binary=services.COMPUTE):
        found[row.host] = "MAINTENANCE" if row.disabled else "UP" if row.is_up(now) else "DOWN"
    return found


def of_one(tx: Tx, server: Server) -> ServerExtras:
    """For one server."""
    group = server_groups.get(tx, server.server_group_id) if server.server_group_id else None
    return ServerExtras(
        tags=tags.of_servers(tx, [server.id]).get(server.id, []),
        fault=faults.latest(tx, [server.id]).get(server.id),
        group_ids=[group.id] if group else [],
        host_status=host_states(tx).get(server.host, "UNKNOWN") if server.host else "",
    )
