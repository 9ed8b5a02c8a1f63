"""What a new server is plugged into: the request's networks, checked with the network service as the user sees it."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec

from pileus.kernel.errors import BadRequest, Forbidden, RemoteError, Unavailable
from pileus.kernel.http import Call
from pileus.services.compute.api.servers.bodies import NetworkRequest, NewServer
from pileus.services.compute.clients.network import Network, NetworkClient, Port
from pileus.services.compute.errors import (
    AmbiguousNetwork,
    NetworkNotUsable,
    PortInUse,
    PortNotFound,
    UnknownNetwork,
    UnknownSecurityGroup,
)
from pileus.services.compute.flows.plugging import RequestedNic

MAX_NICS = 64
DEFAULT_GROUP = "default"


class Wiring(msgspec.Struct, frozen=True):
    """Interfaces to make, and the security groups of those that compute makes (names and ids; no ids: the default)."""

    nics: tuple[RequestedNic, ...]
    group_names: tuple[str, ...]
    group_ids: tuple[str, ...]


async def resolve(call: Call[Any], body: NewServer, max_count: int) -> Wiring:
    """Check everything that can be known now. Raises the 400s and 409s that users expect."""
    client = call.rt.get(NetworkClient)
    names = tuple(dict.fromkeys(group.name for group in body.security_groups)) or (DEFAULT_GROUP,)
    try:
        nics = await _nics(call, client, body, max_count)
        group_names, group_ids = (names, ()) if names == (DEFAULT_GROUP,) else await _groups(call, client, names)
    except RemoteError as error:
        if error.code < 500:
            raise BadRequest(error.text) from None
        raise Unavailable("The network service does not answer.", detail=error.text) from None
    return Wiring(nics, group_names, group_ids)


async def _nics(call: Call[Any], client: NetworkClient, body: NewServer, max_count: int) -> tuple[RequestedNic, ...]:
    asked = body.networks
    if asked is msgspec.UNSET and call.at_least("2.37"):
        raise BadRequest("Invalid input for field/attribute server. 'networks' is a required property")
    if isinstance(asked, str) and not call.at_least("2.37"):
        raise BadRequest("Invalid input for field/attribute networks. It is not a list.")
    if asked == "none":
        return ()
    if isinstance(asked, list) and asked:
        if len(asked) > MAX_NICS:
            raise BadRequest(f"A server has at most {MAX_NICS} network interfaces.")
        return await _named(call, client, asked, max_count)
    return await _chosen(call, client, must=asked == "auto")


async def _chosen(call: Call[Any], client: NetworkClient, *, must: bool) -> tuple[RequestedNic, ...]:
    """The one network that the project can use, if there is one."""
    mine = [
        network
        for network in await client.networks(token=call.token)
        if network.shared or (network.tenant_id == call.context.project_id and not network.external)
    ]
    if len(mine) > 1:
        raise AmbiguousNetwork()
    if not mine and must:
        raise BadRequest(f"Unable to automatically allocate a network for project {call.context.project_id}")
    return tuple(RequestedNic(network_id=n.id, network_name=n.name, mtu=n.mtu) for n in mine if _usable(call, n))


async def _named(
    call: Call[Any], client: NetworkClient, asked: list[NetworkRequest], max_count: int
) -> tuple[RequestedNic, ...]:
    port_ids = [item.port for item in asked if item.port]
    if len(set(port_ids)) != len(port_ids):
        raise BadRequest("A port may be given only once.")
    if port_ids and max_count > 1:
        raise BadRequest("Unable to launch multiple instances with a single configured port ID. Please launch your "
                         "instance one by one with different ports.")
    ports = {port.id: port for port in await client.ports(ids=port_ids, token=call.token)} if port_ids else {}
    network_ids = {_network_id(call, item, ports) for item in asked}
    networks = {n.id: n for n in await client.networks(ids=sorted(network_ids), token=call.token)}
    return tuple(_nic(call, item, ports, networks, max_count) for item in asked)


def _network_id(call: Call[Any], item: NetworkRequest, ports: dict[str, Port]) -> str:
    if item.port is None:
        if item.uuid is None:
            raise BadRequest("Bad network format: missing 'uuid'")
        return item.uuid
    port = ports.get(item.port)
    if port is None or (port.tenant_id != call.context.project_id and not call.allows("context_is_admin")):
        raise PortNotFound(port_id=item.port)
    if port.device_id:
        raise PortInUse(port_id=item.port)
    return port.network_id


def _nic(
    call: Call[Any], item: NetworkRequest, ports: dict[str, Port], networks: dict[str, Network], max_count: int
) -> RequestedNic:
    network_id = ports[item.port].network_id if item.port else item.uuid
    network = networks.get(network_id or "")
    if network is None:
        raise UnknownNetwork(network_id=network_id)
    if item.port is None:
        _usable(call, network)
    if item.fixed_ip is not None:
        if item.port is not None:
            raise BadRequest(f"Specified fixed IP '{item.fixed_ip[:45]}' cannot be used with port '{item.port}': "
                             "the two cannot be specified together.")
        if max_count > 1:
            raise BadRequest("Invalid fixed IP: it cannot be given to several servers.")
        try:
            ipaddress.ip_address(item.fixed_ip)
        except ValueError:
            raise BadRequest(f"Invalid fixed IP address ({item.fixed_ip[:45]})") from None
    tag = item.tag if isinstance(item.tag, str) else None
    if tag is not None and (not tag or len(tag) > 60 or "," in tag or "/" in tag):
        raise BadRequest(f"Invalid input for field/attribute tag. Value: {tag[:80]}.")
    return RequestedNic(
        network_id=network.id, network_name=network.name, mtu=network.mtu, port_id=item.port, fixed_ip=item.fixed_ip,
        tag=tag,
    )


def _usable(call: Call[Any], network: Network) -> bool:
    if not network.subnets:
        raise NetworkNotUsable(f"Network {network.id} requires a subnet in order to boot instances on.")
    if network.external and not network.shared and not call.allows("network:attach_external_network"):
        raise Forbidden(f"It is not allowed to create an interface on external network {network.id}")
    return True


async def _groups(
    call: Call[Any], client: NetworkClient, names: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and ids of groups that were given by either."""
    found = await client.security_groups(token=call.token, tenant_id=call.context.project_id)
    shown, ids = [], []
    for name in names:
        matching = [group for group in found if name in (group.id, group.name)]
        if not matching:
            raise UnknownSecurityGroup(name=name)
        if len(matching) > 1:
            raise BadRequest(f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")
        shown.append(matching[0].name)
        ids.append(matching[0].id)
    return tuple(dict.fromkeys(shown)), tuple(dict.fromkeys(ids))
