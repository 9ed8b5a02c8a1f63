"""Security groups of a running server: those of its ports."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.errors import BadRequest, Conflict, NotFound, RemoteError
from pileus.kernel.http import Call, Reply, Route
from pileus.services.compute.api import values
from pileus.services.compute.api.servers import loading
from pileus.services.compute.clients.network import NetworkClient, Port, SecurityGroup
from pileus.services.compute.db.servers import Server
from pileus.services.compute.flows.plugging import ports_of
from pileus.services.compute.tasks.network_info import refresh_server


class Group(msgspec.Struct, forbid_unknown_fields=True):
    name: values.Name


async def list_groups(call: Call[None]) -> dict[str, Any]:
    """Security groups of the server's ports, in compute's old form."""
    server = await loading.load(call)
    client = call.rt.get(NetworkClient)
    ports = await ports_of(client, server)
    wanted = {group for port in ports for group in port.security_groups}
    found = await client.security_groups(tenant_id=server.project_id) if wanted else []
    shown = [_view(group, server.project_id, found) for group in found if group.id in wanted]
    return {"security_groups": shown}


def _view(group: SecurityGroup, project_id: str, known: list[SecurityGroup]) -> dict[str, Any]:
    """A group in compute's old form; only rules for incoming traffic exist there."""
    names = {other.id: other.name for other in known}
    rules = []
    for rule in group.rules:
        if rule.get("direction") != "ingress":
            continue
        remote, cidr = rule.get("remote_group_id"), rule.get("remote_ip_prefix")
        everywhere = "::/0" if rule.get("ethertype") == "IPv6" else "0.0.0.0/0"
        rules.append({
            "id": rule["id"], "parent_group_id": group.id, "ip_protocol": rule.get("protocol"),
            "from_port": rule.get("port_range_min"), "to_port": rule.get("port_range_max"),
            "ip_range": {} if remote else {"cidr": cidr or everywhere},
            "group": {"name": names.get(remote, remote), "tenant_id": project_id} if remote else {},
        })
    return {
        "id": group.id, "name": group.name, "tenant_id": project_id, "description": group.description, "rules": rules,
    }


async def add_group(call: Call[Group]) -> Reply:
    """Add one to every port of the server."""
    server, ports, group = await _found(call)
    if not ports:
        raise BadRequest(f"instance_id {server.id} could not be found as device id on any ports")
    for port in ports:
        if group.id not in port.security_groups:
            await _set(call, port, [*port.security_groups, group.id])
    await refresh_server(call.rt, server.id)
    return Reply(None)


async def remove_group(call: Call[Group]) -> Reply:
    """Take one from every port of the server."""
    server, ports, group = await _found(call)
    having = [port for port in ports if group.id in port.security_groups]
    if not having:
        raise NotFound(f"Security group {group.name} not associated with the instance {server.id}")
    for port in having:
        await _set(call, port, [other for other in port.security_groups if other != group.id])
    await refresh_server(call.rt, server.id)
    return Reply(None)


async def _found(call: Call[Group]) -> tuple[Server, list[Port], SecurityGroup]:
    server = await loading.load(call)
    loading.refuse_if_locked(call, server)
    client, name = call.rt.get(NetworkClient), call.body.name
    groups = [g for g in await client.security_groups(tenant_id=server.project_id) if name in (g.id, g.name)]
    if not groups:
        raise NotFound(f"Security group {name} not found.")
    if len(groups) > 1:
        raise Conflict(f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")
    return server, await ports_of(client, server), groups[0]


async def _set(call: Call[Group], port: Port, groups: list[str]) -> None:
    try:
        await call.rt.get(NetworkClient).update_port(port.id, security_groups=groups)
    except RemoteError as error:
        raise BadRequest(error.text) from None


_RULE = "os_compute_api:os-security-groups"
_SERVER = "/v2.1/servers/{server_id}"

ROUTES = (
    Route(method="GET", path=_SERVER + "/os-security-groups", handler=list_groups, policy=f"{_RULE}:list"),
    Route(method="POST", path=_SERVER + "/action", action="addSecurityGroup", handler=add_group, policy=f"{_RULE}:add",
          success=202, body=Group),
    Route(method="POST", path=_SERVER + "/action", action="removeSecurityGroup", handler=remove_group,
          policy=f"{_RULE}:remove", success=202, body=Group),
)
