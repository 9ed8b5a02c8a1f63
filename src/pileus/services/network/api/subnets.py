"""Subnets."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import ANY_TOKEN, Route
from pileus.services.network.api import checks
from pileus.services.network.api import networks as networks_api
from pileus.services.network.api import subnet_pools as subnet_pools_api
from pileus.services.network.api.attributes import (
    REQUIRED,
    UNSET,
    Attribute,
    check_revision,
    create_bodies,
    enforce,
    enforce_create,
    enforce_update,
    resource,
    sees_all,
    target_of,
    update_body,
)
from pileus.services.network.api.listing import Shower, answer, parse, standard
from pileus.services.network.db import networks, subnets
from pileus.services.network.db.intents import networks as intents
from pileus.services.network.db.intents import subnet_pools as pool_intents
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.listing import UnknownMarker
from pileus.services.network.db.networks import Network
from pileus.services.network.db.subnets import Subnet
from pileus.services.network.errors import BadRequest, InvalidInput, SubnetNotFound
from pileus.services.network.logic.subnets import changed, complete

MODES = ("slaac", "dhcpv6-stateful", "dhcpv6-stateless")
POOL = checks.record({"start": checks.address, "end": checks.address})
ROUTE = checks.record({"destination": checks.cidr, "nexthop": checks.address})


def _none_as(value: Any, inner: checks.Check) -> checks.Check:
    return lambda given: value if given is None else inner(given)


SUBNET = resource(
    "subnet", "subnets", SubnetNotFound,
    Attribute(name="network_id", check=checks.identifier, put=False, default=REQUIRED),
    Attribute(name="name", check=checks.text(), default=""),
    Attribute(name="description", check=checks.text(), default=""),
    Attribute(name="ip_version", check=checks.integer(4, 6), put=False, default=REQUIRED),
    Attribute(name="cidr", check=checks.cidr, put=False, default=UNSET),
    Attribute(name="gateway_ip", check=checks.optional(checks.address), default=UNSET),
    Attribute(name="allocation_pools", check=checks.list_of(POOL), default=UNSET),
    Attribute(name="dns_nameservers", check=_none_as([], checks.list_of(checks.address)), default=[]),
    Attribute(name="host_routes", check=_none_as([], checks.list_of(ROUTE)), default=[]),
    Attribute(name="enable_dhcp", check=checks.boolean, default=True),
    Attribute(name="ipv6_ra_mode", check=checks.optional(checks.one_of(*MODES)), put=False, default=None),
    Attribute(name="ipv6_address_mode", check=checks.optional(checks.one_of(*MODES)), put=False, default=None),
    Attribute(name="service_types", check=checks.list_of(checks.text()), default=[]),
    Attribute(name="subnetpool_id", check=checks.optional(checks.identifier), put=False, default=None),
    Attribute(name="prefixlen", check=checks.integer(1, 128), put=False, default=UNSET),
    Attribute(name="router:external", post=False, put=False),
)  # fmt: skip

SORTABLE = ("id", "name", "project_id", "network_id", "ip_version", "cidr", "enable_dhcp", "created_at", "updated_at")


def view(subnet: Subnet) -> dict[str, Any]:
    """A subnet as clients see it."""
    return standard(subnet) | {
        "network_id": subnet.network_id,
        "name": subnet.name,
        "ip_version": subnet.ip_version,
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway_ip,
        "enable_dhcp": subnet.enable_dhcp,
        "allocation_pools": subnet.allocation_pools,
        "dns_nameservers": subnet.dns_nameservers,
        "host_routes": subnet.host_routes,
        "ipv6_ra_mode": subnet.ipv6_ra_mode,
        "ipv6_address_mode": subnet.ipv6_address_mode,
        "service_types": subnet.service_types,
        "subnetpool_id": subnet.subnetpool_id,
    }


Owners = dict[str, tuple[str, bool, bool]]


def target(subnet: Subnet, owners: Owners) -> dict[str, Any]:
    """A subnet as policy sees it. Of external networks that are not shared only the operator sees the address plan."""
    owner, shared, _external = owners.get(subnet.network_id, ("", False, False))
    return target_of(subnet.project_id, shared=shared, **{"network:project_id": owner, "router:external": False})


def find(tx: Tx, call: Call[Any], subnet_id: str, verb: str = "get") -> tuple[Subnet, dict[str, Any]]:
    """A subnet that the caller may treat so, and its policy target."""
    subnet = subnets.get(tx, subnet_id)
    if subnet is None:
        raise SubnetNotFound(id=subnet_id)
    seen = target(subnet, networks.owners(tx, (subnet.network_id,)))
    enforce(call, SUBNET, verb, seen, subnet_id)
    return subnet, seen


def _check_sizes(call: Call[Any], values: dict[str, Any]) -> None:
    config = call.rt.get(Fabric).config
    for name, limit in (("dns_nameservers", config.max_dns_nameservers), ("host_routes", config.max_host_routes)):
        if len(values.get(name) or ()) > limit:
            raise InvalidInput(reason=f"The number of {name} exceeds the limit {limit}")


async def list_subnets(call: Call[None]) -> dict[str, Any]:
    query = parse(call, subnets.FILTERS, SORTABLE)
    scope = () if sees_all(call) else (subnets.visible_to(call.context.project_id),)

    def load(tx: Tx) -> tuple[list[Subnet], Owners]:
        found = subnets.page(tx, query, *scope)
        return found, networks.owners(tx, {subnet.network_id for subnet in found})

    try:
        found, owners = await call.rt.db.read(load)
    except UnknownMarker:
        raise SubnetNotFound(id=query.marker) from None
    items = Shower(call, SUBNET).show_all(found, view, lambda subnet: target(subnet, owners))
    return answer(call, SUBNET, query, items)


async def show_subnet(call: Call[None]) -> dict[str, Any]:
    subnet, seen = await call.rt.db.read(find, call, call.path["subnet_id"])
    return {"subnet": Shower(call, SUBNET).show(view(subnet), seen)}


async def create_subnets(call: Call[None]) -> dict[str, Any]:
    bodies, several = create_bodies(call, SUBNET)
    for values in bodies:
        if "cidr" not in values and values["subnetpool_id"] is None:
            raise BadRequest(resource="subnets", reason="a subnetpool must be specified in the absence of a cidr")
        if "prefixlen" in values and ("cidr" in values or values["subnetpool_id"] is None):
            raise BadRequest(resource="subnets", reason="a prefixlen goes with a subnetpool and without a cidr")
        _check_sizes(call, values)
    columns = [values if values["subnetpool_id"] else complete(values) for values in bodies]

    def create(tx: Tx) -> list[dict[str, Any]]:
        made = []
        for values in columns:
            network = _usable_network(tx, call, values)
            if values["subnetpool_id"]:
                values = _cut(tx, call, values)
            row = {k: v for k, v in values.items() if k not in ("project_id", "network_id", "prefixlen")}
            subnet = intents.create_subnet(tx, call.rt.get(Fabric), values["project_id"], network, row)
            made.append(view(subnet))
        return made

    shown = await call.rt.db.write(create)
    return {"subnets": shown} if several else {"subnet": shown[0]}


def _cut(tx: Tx, call: Call[Any], values: dict[str, Any]) -> dict[str, Any]:
    """The values of a subnet with what its pool gives it."""
    pool = subnet_pools_api.find(tx, call, values["subnetpool_id"])
    if pool.ip_version != values["ip_version"]:
        raise InvalidInput(reason=f"ip_version {values['ip_version']} is not that of the subnet pool")
    cidr = pool_intents.cut(tx, pool, values["project_id"], values.get("cidr"), values.get("prefixlen"))
    return complete(values | {"cidr": cidr})


def _usable_network(tx: Tx, call: Call[Any], values: dict[str, Any]) -> Network:
    network = networks_api.find_bare(tx, call, values["network_id"])
    owner = {"network:project_id": network.project_id, "network:tenant_id": network.project_id}
    enforce_create(call, SUBNET, values, target_of(values["project_id"], shared=network.shared, **owner))
    return network


async def update_subnet(call: Call[None]) -> dict[str, Any]:
    values = update_body(call, SUBNET)
    _check_sizes(call, values)

    def update(tx: Tx) -> tuple[Subnet, dict[str, Any]]:
        subnet, seen = find(tx, call, call.path["subnet_id"])
        enforce_update(call, SUBNET, values, seen, subnet.id)
        check_revision(call, subnet.revision_number)
        wanted = changed(subnet.cidr, subnet.gateway_ip, subnet.allocation_pools, values)
        if wanted.get("enable_dhcp") is False and (subnet.ipv6_ra_mode or subnet.ipv6_address_mode):
            raise InvalidInput(reason="enable_dhcp cannot be False while ipv6_ra_mode or ipv6_address_mode is set")
        return intents.update_subnet(tx, call.rt.get(Fabric), subnet, wanted), seen

    subnet, seen = await call.rt.db.write(update)
    return {"subnet": Shower(call, SUBNET).show(view(subnet), seen)}


async def delete_subnet(call: Call[None]) -> None:
    def remove(tx: Tx) -> None:
        subnet, _ = find(tx, call, call.path["subnet_id"], "delete")
        check_revision(call, subnet.revision_number)
        intents.delete_subnet(tx, call.rt.get(Fabric), subnet)

    await call.rt.db.write(remove)


ONE = "/v2.0/subnets/{subnet_id}"
# Creating is a right of the network's owner, who is known only when the body was read: the handler enforces it.
ROUTES = (
    Route(method="GET", path="/v2.0/subnets", handler=list_subnets, policy="get_subnet"),
    Route(method="POST", path="/v2.0/subnets", handler=create_subnets, policy=ANY_TOKEN, success=201,
          max_body_bytes=1 << 20),
    Route(method="GET", path=ONE, handler=show_subnet, policy="get_subnet"),
    Route(method="PUT", path=ONE, handler=update_subnet, policy="update_subnet"),
    Route(method="DELETE", path=ONE, handler=delete_subnet, policy="delete_subnet", success=204),
)  # fmt: skip
