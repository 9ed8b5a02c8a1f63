"""The network service, as far as compute needs it."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.errors import RemoteError
from pileus.kernel.http.client import HttpResult, ServiceSession

DEVICE_OWNER = "compute:"


class Network(msgspec.Struct, frozen=True):
    """A network that a caller may see."""

    id: str
    name: str = ""
    mtu: int = 1500
    subnets: tuple[str, ...] = ()
    shared: bool = False
    external: bool = msgspec.field(name="router:external", default=False)
    tenant_id: str = ""
    port_security_enabled: bool = True


class FixedIp(msgspec.Struct, frozen=True):
    """An address of a port."""

    ip_address: str
    subnet_id: str = ""


class Port(msgspec.Struct, frozen=True):
    """A port. `host` is where it is bound."""

    id: str
    network_id: str
    mac_address: str = ""
    status: str = "DOWN"
    device_id: str = ""
    device_owner: str = ""
    tenant_id: str = ""
    name: str = ""
    host: str | None = msgspec.field(name="binding:host_id", default="")
    vif_type: str | None = msgspec.field(name="binding:vif_type", default="")
    fixed_ips: tuple[FixedIp, ...] = ()
    security_groups: tuple[str, ...] = ()


class Subnet(msgspec.Struct, frozen=True):
    """A subnet, for the network description that guests read."""

    id: str
    network_id: str
    cidr: str
    ip_version: int = 4
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[dict[str, str], ...] = ()
    ipv6_address_mode: str | None = None


class FloatingIp(msgspec.Struct, frozen=True):
    """A floating address and where it leads."""

    id: str
    floating_ip_address: str
    fixed_ip_address: str | None = None
    port_id: str | None = None


class SecurityGroup(msgspec.Struct, frozen=True):
    """A security group. `rules` are as the network API shows them."""

    id: str
    name: str
    description: str = ""
    rules: tuple[dict[str, Any], ...] = msgspec.field(name="security_group_rules", default=())


class NetworkClient:
    """Typed calls on a session. Without a token they are made as compute itself, which is an administrator."""

    def __init__(self, session: ServiceSession) -> None:
        self._session = session

    async def networks(self, *, ids: list[str] | None = None, token: str | None = None, **query: Any) -> list[Network]:
        """Networks that the caller may see; `ids` narrows."""
        return await self._list("networks", Network, token, ids=ids, **query)

    async def ports(self, *, ids: list[str] | None = None, token: str | None = None, **query: Any) -> list[Port]:
        """Ports that the caller may see."""
        return await self._list("ports", Port, token, ids=ids, **query)

    async def subnets(self, network_ids: list[str]) -> list[Subnet]:
        """All subnets of these networks."""
        return await self._list("subnets", Subnet, None, network_id=network_ids)

    async def floating_ips(self, port_ids: list[str] | None = None) -> list[FloatingIp]:
        """Floating addresses of these ports, or all."""
        query: dict[str, Any] = {"port_id": port_ids} if port_ids else {}
        return await self._list("floatingips", FloatingIp, None, **query)

    async def security_groups(self, *, token: str | None = None, **query: Any) -> list[SecurityGroup]:
        """Security groups that the caller may see."""
        return await self._list("security-groups", SecurityGroup, token, key="security_groups", **query)

    async def create_port(self, **values: Any) -> Port:
        """A new port with these attributes."""
        return _one(await self._send("POST", "/v2.0/ports", {"port": values}), "port", Port)

    async def update_port(self, port_id: str, **values: Any) -> Port | None:
        """Change a port; None when it is gone."""
        try:
            return _one(await self._send("PUT", f"/v2.0/ports/{port_id}", {"port": values}), "port", Port)
        except RemoteError as error:
            if error.code == 404:
                return None
            raise

    async def delete_port(self, port_id: str) -> None:
        """Delete a port; one that is gone is fine."""
        try:
            await self._session.request("network", "DELETE", f"/v2.0/ports/{port_id}")
        except RemoteError as error:
            if error.code != 404:
                raise

    async def _list(
        self, collection: str, kind: Any, token: str | None, *, ids: list[str] | None = None, key: str = "",
        **query: Any,
    ) -> list[Any]:
        if ids is not None:
            query["id"] = ids
        result = await self._session.request("network", "GET", f"/v2.0/{collection}", query=query, token=token)
        return msgspec.convert(result.json()[key or collection], list[kind])

    async def _send(self, method: str, path: str, body: dict[str, Any]) -> HttpResult:
        return await self._session.request("network", method, path, body=body)


def _one(result: HttpResult, key: str, kind: Any) -> Any:
    return msgspec.convert(result.json()[key], kind)
