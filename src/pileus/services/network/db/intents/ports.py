"""Creating, changing and deleting ports."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, select

from pileus.kernel.db import Tx
from pileus.services.network import states
from pileus.services.network.db import agents, ports, routers, security_groups
from pileus.services.network.db.floating_ips import FLOATING_IPS
from pileus.services.network.db.intents import addresses, binding
from pileus.services.network.db.intents.dhcp import ensure_dhcp
from pileus.services.network.db.intents.fabric import Fabric, hosts_that_name
from pileus.services.network.db.intents.security_groups import ensure_default_group
from pileus.services.network.db.metadata import insert_unless_taken, revise, stamped
from pileus.services.network.db.networks import Network
from pileus.services.network.db.ports import PORTS, Port
from pileus.services.network.errors import (
    AddressPairAndPortSecurityRequired,
    AddressPairMatchesPortFixedIPAndMac,
    AllowedAddressPairExhausted,
    BadRequest,
    MacAddressGenerationFailure,
    MacAddressInUse,
    PortBound,
    PortSecurityAndIPRequiredForSecurityGroups,
    SecurityGroupNotFound,
    ServicePortInUse,
)
from pileus.services.network.logic.addresses import random_mac
from pileus.services.network.logic.dhcp_options import merge
from pileus.services.network.quotas import claim
from pileus.services.network.rpc import PortStatusChanged

MAC_ATTEMPTS = 16
PLAIN = ("name", "description", "admin_state_up", "device_id", "device_owner", "dns_name", "allowed_address_pairs")
DEFAULTS: dict[str, Any] = {
    "name": "", "description": "", "admin_state_up": True, "device_id": "", "device_owner": "", "dns_name": "",
    "allowed_address_pairs": [], "extra_dhcp_opts": [], "vnic_type": "normal", "profile": {}, "trusted": False,
}  # fmt: skip


def create_port(tx: Tx, fabric: Fabric, project_id: str, network: Network, values: dict[str, Any]) -> Port:
    """Make a port. `values` are columns of `PORTS`, and `fixed_ips` (None: any), `security_groups` (None: default),
    `mac_address` (None: any), `port_security_enabled` (None: as the network says), `host` ("": unbound)."""
    if project_id:
        claim(tx, fabric.limits, project_id, "port")
    row = DEFAULTS | {key: value for key, value in values.items() if key in DEFAULTS}
    row["extra_dhcp_opts"] = merge([], row["extra_dhcp_opts"])
    secured, groups = _protection(tx, project_id, network, values)
    row |= {"project_id": project_id, "network_id": network.id, "port_security_enabled": secured}
    served = agents.dhcp_hosts(tx, (network.id,)).get(network.id)
    row |= {"status": states.DOWN, "dhcp_ready": False, "dhcp_generation": _dhcp_generation(tx, fabric, served)}
    row |= binding.bind(tx, fabric, network, values.get("host", ""), row["vnic_type"], up=row["admin_state_up"])
    row = stamped(tx, row)
    mac = _insert(tx, fabric, row, values.get("mac_address"))
    is_router = row["device_owner"] in states.ROUTER_OWNERS and row["trusted"]
    owner = row["device_owner"]
    claimant = addresses.Claimant(row["id"], network.id, mac, is_router=is_router, device_owner=owner)
    fixed_ips = addresses.allocate(tx, fabric, claimant, values.get("fixed_ips"))
    ports.add_groups(tx, row["id"], groups)
    port = Port(**row, mac_address=mac, fixed_ips=tuple(fixed_ips), security_groups=tuple(groups))
    _check_pairs(fabric, port)
    if served is None and not port.device_owner.startswith("network:"):
        ensure_dhcp(tx, fabric, network.id, make_port=create_port)
    fabric.changed(tx, "l2", hosts_that_name(tx, groups) - {port.host})
    wired_already = port.l2_up and binding.settle(tx, fabric, [port])
    return _found(tx, port.id) if wired_already else port


def _dhcp_generation(tx: Tx, fabric: Fabric, host: str | None) -> int:
    """A port comes or changes: the DHCP agent's next generation."""
    if host is None:
        return 0
    fabric.changed(tx, "dhcp", [host])
    return agents.generation(tx, "dhcp", host)


def _found(tx: Tx, port_id: str) -> Port:
    port = ports.get(tx, port_id)
    assert port is not None, "a port of this transaction"
    return port


def _insert(tx: Tx, fabric: Fabric, row: dict[str, Any], mac: str | None) -> str:
    if mac is not None:
        if not insert_unless_taken(tx, PORTS, {**row, "mac_address": mac}):
            raise MacAddressInUse(network_id=row["network_id"], mac=mac)
        return mac
    for _ in range(MAC_ATTEMPTS):
        mac = random_mac(fabric.config.base_mac, fabric.random)
        if insert_unless_taken(tx, PORTS, {**row, "mac_address": mac}):
            return mac
    raise MacAddressGenerationFailure(network_id=row["network_id"])


def _protection(tx: Tx, project_id: str, network: Network, values: dict[str, Any]) -> tuple[bool, Sequence[str]]:
    """Whether the port is filtered, and its security groups."""
    groups: Sequence[str] | None = values.get("security_groups")
    if values.get("trusted"):
        return False, ()
    secured = values.get("port_security_enabled")
    if secured is None:
        secured = network.port_security_enabled
    if groups:
        if not secured:
            raise PortSecurityAndIPRequiredForSecurityGroups()
        return secured, groups
    if groups is None and secured and project_id:
        return secured, (ensure_default_group(tx, project_id),)
    return secured, ()


def _check_pairs(fabric: Fabric, port: Port) -> None:
    pairs = port.allowed_address_pairs
    if pairs and not port.port_security_enabled:
        raise AddressPairAndPortSecurityRequired()
    if len(pairs) > fabric.config.max_allowed_address_pairs:
        raise AllowedAddressPairExhausted(limit=fabric.config.max_allowed_address_pairs)
    own = {(address.ip_address, port.mac_address) for address in port.fixed_ips}
    if any((pair["ip_address"], pair["mac_address"] or port.mac_address) in own for pair in pairs):
        raise AddressPairMatchesPortFixedIPAndMac()


def tell_agents(
    tx: Tx, fabric: Fabric, port: Port, *, members: bool = True, dhcp: bool = True, old_groups: Iterable[str] = ()
) -> None:
    """A port changed or is about to go: wake its host; with `members` those who filter by its groups, with
    `dhcp` the agent that hands out its addresses."""
    fabric.changed(tx, "l2", [port.host])
    if members:
        fabric.changed(tx, "l2", hosts_that_name(tx, {*port.security_groups, *old_groups}) - {port.host})
    host = agents.dhcp_hosts(tx, (port.network_id,)).get(port.network_id) if dhcp else None
    if host is None:
        return
    generation = _dhcp_generation(tx, fabric, host)
    if port.status != states.ACTIVE:
        changes = {"dhcp_ready": False, "dhcp_generation": generation}
        tx.execute(PORTS.update().where(PORTS.c.id == port.id).values(**changes))


def update_port(tx: Tx, fabric: Fabric, port: Port, network: Network, values: dict[str, Any]) -> Port:
    """Change a port; `values` as for `create_port`, only those given."""
    _check_update(tx, port, values)
    changes: dict[str, Any] = {key: values[key] for key in (*PLAIN, "vnic_type", "profile") if key in values}
    if "extra_dhcp_opts" in values:
        changes["extra_dhcp_opts"] = merge(port.extra_dhcp_opts, values["extra_dhcp_opts"])
    if values.get("mac_address") is not None:
        changes["mac_address"] = _new_mac(tx, port, values["mac_address"])
    groups = _new_groups(port, values, changes)
    if {"host", "vnic_type", "profile"} & set(values):
        changes |= _rebind(tx, fabric, port, network, values)
    revise(tx, PORTS, (port.id,), changes)
    if values.get("fixed_ips") is not None:
        is_router = routers.router_of_port(tx, port.id) is not None
        mac = changes.get("mac_address", port.mac_address)
        claimant = addresses.Claimant(port.id, port.network_id, mac, is_router=is_router)
        addresses.reallocate(tx, fabric, claimant, port.fixed_ips, values["fixed_ips"])
    if groups is not None:
        ports.set_groups(tx, port.id, groups)
    fresh = _found(tx, port.id)
    _check_pairs(fabric, fresh)
    if port.host != fresh.host:
        fabric.changed(tx, "l2", [port.host])
        binding.tell_network(tx, fabric, port.network_id, port.host)
    given = set(values)
    tell_agents(
        tx, fabric, fresh, members=bool({"fixed_ips", "security_groups"} & given), old_groups=port.security_groups,
        dhcp=bool({"fixed_ips", "mac_address", "extra_dhcp_opts", "dns_name"} & given),
    )
    router_id = routers.router_of_port(tx, port.id)
    if router_id is not None:
        fabric.changed(tx, "l3", [fresh.host])
    binding.refresh_status(tx, fabric, [port.id])
    return _found(tx, port.id)


def _check_update(tx: Tx, port: Port, values: dict[str, Any]) -> None:
    device = {key: values[key] for key in ("device_id", "device_owner") if key in values}
    if any(value != getattr(port, key) for key, value in device.items()) and _service_of(tx, port) is not None:
        raise BadRequest(resource="port", reason=f"the device of port {port.id} is not changed through the port")


def _new_mac(tx: Tx, port: Port, mac: str) -> str:
    if mac == port.mac_address:
        return mac
    if port.host:
        raise PortBound(id=port.id, vif_type=port.vif_type, old=port.mac_address, new=mac)
    taken = select(PORTS.c.id).where(PORTS.c.network_id == port.network_id, PORTS.c.mac_address == mac)
    if tx.scalar(taken) is not None:
        raise MacAddressInUse(network_id=port.network_id, mac=mac)
    return mac


def _new_groups(port: Port, values: dict[str, Any], changes: dict[str, Any]) -> Sequence[str] | None:
    """The groups to set, or None to leave them; notes a change of filtering in `changes`."""
    secured = values.get("port_security_enabled")
    secured = port.port_security_enabled if secured is None else secured
    groups: Sequence[str] | None = values.get("security_groups")
    if not secured and (groups if groups is not None else port.security_groups):
        raise PortSecurityAndIPRequiredForSecurityGroups()
    if secured != port.port_security_enabled and not port.trusted:
        changes["port_security_enabled"] = secured
    return groups


def _rebind(tx: Tx, fabric: Fabric, port: Port, network: Network, values: dict[str, Any]) -> dict[str, Any]:
    host = values.get("host", port.host)
    same = host == port.host and port.vif_type not in (states.VIF_UNBOUND, states.VIF_BINDING_FAILED)
    if same and values.get("vnic_type", port.vnic_type) == port.vnic_type:
        return {}
    vnic_type = values.get("vnic_type", port.vnic_type)
    return binding.bind(
        tx, fabric, network, host, vnic_type, up=values.get("admin_state_up", port.admin_state_up), port_id=port.id
    )


def _service_of(tx: Tx, port: Port) -> str | None:
    """What of the cloud's own holds the port, in words; None for ordinary ports."""
    if routers.router_of_port(tx, port.id) is not None:
        return f"has device owner {port.device_owner}"
    if tx.scalar(select(FLOATING_IPS.c.id).where(FLOATING_IPS.c.floating_port_id == port.id)) is not None:
        return f"has device owner {states.OWNER_FLOATING_IP}"
    return None


def delete_port(tx: Tx, fabric: Fabric, port: Port, *, by_user: bool = True) -> None:
    """Remove a port; its floating IPs lead nowhere afterwards. Ports of routers and floating IPs go with these."""
    if by_user and (reason := _service_of(tx, port)) is not None:
        raise ServicePortInUse(id=port.id, reason=reason)
    led = tx.all(select(FLOATING_IPS.c.id, FLOATING_IPS.c.router_id).where(FLOATING_IPS.c.port_id == port.id))
    if led:
        none = {"port_id": None, "fixed_ip_address": None, "router_id": None, "status": states.DOWN}
        revise(tx, FLOATING_IPS, [row.id for row in led], none)
        hosts = select(routers.ROUTERS.c.host).where(routers.ROUTERS.c.id.in_([row.router_id for row in led]))
        fabric.changed(tx, "l3", [row.host for row in tx.all(hosts)])
    tell_agents(tx, fabric, port)
    tx.execute(delete(agents.DHCP_SERVICES).where(agents.DHCP_SERVICES.c.port_id == port.id))
    ports.remove(tx, (port.id,))
    binding.tell_network(tx, fabric, port.network_id, port.host)
    event = PortStatusChanged(port_id=port.id, status="DELETED", device_id=port.device_id, host=port.host)
    fabric.announce(tx, event)


def check_groups(tx: Tx, group_ids: Iterable[str], project_id: str | None, *, all_projects: bool) -> None:
    """Raise unless every group is there and may be used by the project."""
    wanted = list(group_ids)
    if not wanted:
        return
    owners = security_groups.owners(tx, wanted)
    for group_id in wanted:
        if group_id not in owners or not (all_projects or owners[group_id] == project_id):
            raise SecurityGroupNotFound(id=group_id)

