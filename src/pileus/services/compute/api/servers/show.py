"""One server, its addresses, its interfaces."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.errors import NotFound
from pileus.kernel.http import Call, Route
from pileus.services.compute.api.servers import extras, loading
from pileus.services.compute.api.servers.view import Viewer, addresses
from pileus.services.compute.db import servers
from pileus.services.compute.db.servers import Server, Vif


async def show_server(call: Call[None]) -> dict[str, Any]:
    """Everything about one server."""

    def read(tx: Tx) -> Any:
        found = servers.get(tx, call.path["server_id"])
        return found, (extras.of_one(tx, found) if found else None)

    server, more = await call.rt.db.read(read)
    return {"server": Viewer(call).full(loading.check(call, server), more)}


async def list_addresses(call: Call[None]) -> dict[str, Any]:
    """Addresses by network."""
    server = await loading.load(call)
    return {"addresses": addresses(server.network_info, with_types=False)}


async def show_addresses(call: Call[None]) -> dict[str, Any]:
    """Addresses in one network."""
    server, label = await loading.load(call), call.path["label"]
    found = addresses(server.network_info, with_types=False)
    if label not in found:
        raise NotFound("Network not found")
    return {label: found[label]}


def _interface(vif: Vif, call: Call[Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "port_id": vif.port_id, "net_id": vif.network_id, "mac_addr": vif.mac, "port_state": vif.status,
        "fixed_ips": [{"subnet_id": a.subnet_id, "ip_address": a.address} for a in vif.addresses],
    }
    if call.at_least("2.70"):
        shown["tag"] = vif.tag
    return shown


async def list_interfaces(call: Call[None]) -> dict[str, Any]:
    """Ports of the server."""
    server = await loading.load(call)
    return {"interfaceAttachments": [_interface(vif, call) for vif in server.network_info]}


async def show_interface(call: Call[None]) -> dict[str, Any]:
    """One of them."""
    server: Server = await loading.load(call)
    for vif in server.network_info:
        if vif.port_id == call.path["port_id"]:
            return {"interfaceAttachment": _interface(vif, call)}
    raise NotFound(f"Instance {server.id} does not have a port with id {call.path['port_id']}")


_SERVER = "/v2.1/servers/{server_id}"

ROUTES = (
    Route(method="GET", path=_SERVER, handler=show_server, policy="os_compute_api:servers:show"),
    Route(method="GET", path=_SERVER + "/ips", handler=list_addresses, policy="os_compute_api:ips:index"),
    Route(method="GET", path=_SERVER + "/ips/{label}", handler=show_addresses, policy="os_compute_api:ips:show"),
    Route(method="GET", path=_SERVER + "/os-interface", handler=list_interfaces,
          policy="os_compute_api:os-attach-interfaces:list"),
    Route(method="GET", path=_SERVER + "/os-interface/{port_id}", handler=show_interface,
          policy="os_compute_api:os-attach-interfaces:show"),
)
