"""Networks."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import Route
from pileus.services.network.api import checks
from pileus.services.network.api.attributes import (
    UNSET,
    Attribute,
    check_revision,
    create_bodies,
    enforce,
    enforce_create,
    enforce_update,
    read_only,
    resource,
    sees_all,
    target_of,
    update_body,
)
from pileus.services.network.api.availability import check_hints
from pileus.services.network.api.listing import Shower, answer, parse, standard
from pileus.services.network.db import networks
from pileus.services.network.db.intents import networks as intents
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.listing import UnknownMarker
from pileus.services.network.db.networks import Network
from pileus.services.network.errors import NetworkNotFound
from pileus.services.network.logic.dns import check_name

MIN_MTU, MAX_MTU = 68, 65_535


def _mtu(value: Any) -> int:
    number = checks.integer(0, MAX_MTU)(value)
    if 0 < number < MIN_MTU:
        raise ValueError(f"'{number}' is too small - must be at least '{MIN_MTU}'")
    return number


def _provider(check: checks.Check) -> checks.Check:
    """Provider attributes are left to the cloud when they are None or empty."""
    return lambda value: None if value in (None, "") else check(value)


NETWORK = resource(
    "network", "networks", NetworkNotFound,
    Attribute(name="name", check=checks.text(), default=""),
    Attribute(name="description", check=checks.text(), default=""),
    Attribute(name="admin_state_up", check=checks.boolean, default=True),
    Attribute(name="shared", check=checks.boolean, default=False),
    Attribute(name="router:external", check=checks.boolean, default=False),
    Attribute(name="is_default", check=checks.boolean, default=False),
    Attribute(name="mtu", check=_mtu, default=0),
    Attribute(name="port_security_enabled", check=checks.boolean, default=True),
    Attribute(name="dns_domain", check=check_name, default=""),
    Attribute(name="availability_zone_hints", check=checks.list_of(checks.text()), default=[], put=False),
    Attribute(name="provider:network_type", check=_provider(checks.text(32)), put=False, default=UNSET),
    Attribute(name="provider:physical_network", check=_provider(checks.text(64)), put=False, default=UNSET),
    Attribute(name="provider:segmentation_id", check=_provider(checks.integer(0, 1 << 24)), put=False, default=UNSET),
    *read_only("status", "subnets", "availability_zones"),
)  # fmt: skip

COLUMNS = {
    "router:external": "external", "provider:network_type": "network_type",
    "provider:physical_network": "physical_network", "provider:segmentation_id": "segmentation_id",
}  # fmt: skip
SORTABLE = ("id", "name", "project_id", "admin_state_up", "mtu", "created_at", "updated_at", "revision_number")


def view(network: Network) -> dict[str, Any]:
    """A network as clients see it."""
    return standard(network) | {
        "name": network.name,
        "admin_state_up": network.admin_state_up,
        "status": "ACTIVE",
        "shared": network.shared,
        "router:external": network.external,
        "is_default": network.is_default,
        "mtu": network.mtu,
        "port_security_enabled": network.port_security_enabled,
        "dns_domain": network.dns_domain,
        "subnets": list(network.subnets),
        "availability_zone_hints": network.availability_zone_hints,
        "availability_zones": [],
        "provider:network_type": network.network_type,
        "provider:physical_network": network.physical_network,
        "provider:segmentation_id": network.segmentation_id,
    }


def target(network: Network) -> dict[str, Any]:
    """A network as policy sees it."""
    return target_of(network.project_id, shared=network.shared, **{"router:external": network.external})


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    return {COLUMNS.get(name, name): value for name, value in values.items() if name != "project_id"}


def find(tx: Tx, call: Call[Any], network_id: str, verb: str = "get") -> Network:
    """A network that the caller may treat so."""
    network = networks.get(tx, network_id)
    if network is None:
        raise NetworkNotFound(id=network_id)
    enforce(call, NETWORK, verb, target(network), network_id)
    return network


def find_bare(tx: Tx, call: Call[Any], network_id: str) -> Network:
    """A network that the caller may see, without its subnets' ids and its tags."""
    network = networks.get_bare(tx, network_id)
    if network is None:
        raise NetworkNotFound(id=network_id)
    enforce(call, NETWORK, "get", target(network), network_id)
    return network


async def list_networks(call: Call[None]) -> dict[str, Any]:
    query = parse(call, networks.FILTERS, SORTABLE)
    scope = () if sees_all(call) else (networks.visible_to(call.context.project_id),)
    try:
        found = await call.rt.db.read(networks.page, query, *scope)
    except UnknownMarker:
        raise NetworkNotFound(id=query.marker) from None
    zones = call.rt.get(Fabric)
    return answer(call, NETWORK, query, Shower(call, NETWORK).show_all(found, lambda n: _zoned(n, zones), target))


def _zoned(network: Network, fabric: Fabric) -> dict[str, Any]:
    zones = [fabric.config.availability_zone] if network.subnets else []
    return view(network) | {"availability_zones": zones}


def _one(call: Call[Any], network: Network) -> dict[str, Any]:
    body = Shower(call, NETWORK).show(_zoned(network, call.rt.get(Fabric)), target(network))
    return {"network": body}


async def show_network(call: Call[None]) -> dict[str, Any]:
    return _one(call, await call.rt.db.read(find, call, call.path["network_id"]))


async def create_networks(call: Call[None]) -> dict[str, Any]:
    bodies, several = create_bodies(call, NETWORK)
    for values in bodies:
        enforce_create(call, NETWORK, values, target_of(values["project_id"]))
        check_hints(call, values)

    def create(tx: Tx) -> list[Network]:
        fabric = call.rt.get(Fabric)
        return [intents.create_network(tx, fabric, v["project_id"], _columns(v)) for v in bodies]

    made = await call.rt.db.write(create)
    shown = [_one(call, network)["network"] for network in made]
    return {"networks": shown} if several else {"network": shown[0]}


async def update_network(call: Call[None]) -> dict[str, Any]:
    values = update_body(call, NETWORK)

    def update(tx: Tx) -> Network:
        network = networks.get(tx, call.path["network_id"])
        if network is None:
            raise NetworkNotFound(id=call.path["network_id"])
        enforce_update(call, NETWORK, values, target(network), network.id)
        check_revision(call, network.revision_number)
        return intents.update_network(tx, call.rt.get(Fabric), network, _columns(values))

    return _one(call, await call.rt.db.write(update))


async def delete_network(call: Call[None]) -> None:
    def remove(tx: Tx) -> None:
        network = find(tx, call, call.path["network_id"], "delete")
        check_revision(call, network.revision_number)
        intents.delete_network(tx, call.rt.get(Fabric), network)

    await call.rt.db.write(remove)


ONE = "/v2.0/networks/{network_id}"
ROUTES = (
    Route(method="GET", path="/v2.0/networks", handler=list_networks, policy="get_network"),
    Route(method="POST", path="/v2.0/networks", handler=create_networks, policy="create_network", success=201,
          max_body_bytes=1 << 20),
    Route(method="GET", path=ONE, handler=show_network, policy="get_network"),
    Route(method="PUT", path=ONE, handler=update_network, policy="update_network"),
    Route(method="DELETE", path=ONE, handler=delete_network, policy="delete_network", success=204),
)  # fmt: skip
