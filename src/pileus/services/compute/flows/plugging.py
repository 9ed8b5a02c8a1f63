"""Ports of servers: made or taken, bound to a host, given back."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.process import Runtime
from pileus.services.compute.clients.network import DEVICE_OWNER, NetworkClient, Port
from pileus.services.compute.db.servers import Server, Vif
from pileus.services.compute.errors import PortInUse, PortNotFound
from pileus.services.compute.logic import network_info


class RequestedNic(msgspec.Struct, frozen=True):
    """An interface that was asked for. `port_id`: a port that the user made."""

    network_id: str
    network_name: str = ""
    mtu: int = 1500
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None


async def plug(
    rt: Runtime[Any], server: Server, nics: tuple[RequestedNic, ...], group_ids: tuple[str, ...],
    group_names: tuple[str, ...], *, first: bool,
) -> tuple[Vif, ...]:
    """All ports of a new server. Run again, it finds those that it has made already; `first`: there cannot be any."""
    client = rt.get(NetworkClient)
    given = {nic.port_id for nic in nics}
    made = [] if first or not nics else [port for port in await ports_of(client, server) if port.id not in given]
    vifs = []
    for nic in nics:
        if nic.port_id is not None:
            port = await _take(client, server, nic.port_id)
        else:
            known = next((p for p in made if _answers(p, nic)), None)
            if known is not None:
                made.remove(known)
            port = known or await _make(client, server, nic, group_ids)
        names, floating = group_names, {}
        if nic.port_id is not None:  # a port that the user made may lead a life of its own already
            names = await _names(client, port)
            floating = network_info.floating_by_fixed(await client.floating_ips([port.id])).get(port.id, {})
        vifs.append(network_info.vif(
            port, network_name=nic.network_name, mtu=nic.mtu, tag=nic.tag, created=nic.port_id is None,
            security_groups=names, floating=floating,
        ))
    return tuple(vifs)


def given_vif(nic: RequestedNic) -> Vif:
    """An interface whose port the user made, before anything is known of it."""
    return Vif(nic.port_id or "", "", nic.network_id, nic.network_name, mtu=nic.mtu, tag=nic.tag, created=False)


def _answers(port: Port, nic: RequestedNic) -> bool:
    if port.network_id != nic.network_id:
        return False
    return nic.fixed_ip is None or nic.fixed_ip in {ip.ip_address for ip in port.fixed_ips}


async def _make(client: NetworkClient, server: Server, nic: RequestedNic, group_ids: tuple[str, ...]) -> Port:
    wanted: dict[str, Any] = {
        "network_id": nic.network_id, "tenant_id": server.project_id, "device_id": server.id, "admin_state_up": True,
        **_binding(server),
    }
    if nic.fixed_ip is not None:
        wanted["fixed_ips"] = [{"ip_address": nic.fixed_ip}]
    if group_ids:
        wanted["security_groups"] = list(group_ids)
    return await client.create_port(**wanted)


def _binding(server: Server) -> dict[str, Any]:
    return {"device_owner": DEVICE_OWNER + (server.availability_zone or ""), "binding:host_id": server.host}


async def _take(client: NetworkClient, server: Server, port_id: str) -> Port:
    found = await client.ports(ids=[port_id])
    if not found:
        raise PortNotFound(port_id=port_id)
    if found[0].device_id not in ("", server.id):
        raise PortInUse(port_id=port_id)
    port = await client.update_port(port_id, device_id=server.id, **_binding(server))
    if port is None:
        raise PortNotFound(port_id=port_id)
    return port


async def _names(client: NetworkClient, port: Port) -> list[str]:
    if not port.security_groups:
        return []
    found = await client.security_groups(tenant_id=port.tenant_id)
    return [group.name for group in found if group.id in port.security_groups]


async def rebind(rt: Runtime[Any], server: Server, host: str) -> None:
    """The server goes to another host, and its ports with it."""
    client = rt.get(NetworkClient)
    for vif in server.network_info:
        await client.update_port(vif.port_id, **{"binding:host_id": host})


async def ports_of(client: NetworkClient, server: Server) -> list[Port]:
    """The server's ports. A port of another project that claims to belong to it, and was not given, does not count."""
    known = {vif.port_id for vif in server.network_info}
    found = await client.ports(device_id=server.id)
    return [port for port in found if port.id in known or port.tenant_id == server.project_id]


async def unplug(rt: Runtime[Any], server: Server, given: set[str]) -> None:
    """Delete the ports of a server; those in `given` (made by users) are only handed back."""
    client = rt.get(NetworkClient)
    for port in await ports_of(client, server):
        if port.id in given:
            await client.update_port(port.id, device_id="", device_owner="", **{"binding:host_id": ""})
        else:
            await client.delete_port(port.id)
