"""What a server's row remembers of its interfaces, from what the network service says of its ports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from pileus.services.compute.clients.network import FloatingIp, Port
from pileus.services.compute.db.servers import Vif, VifAddress


def vif(
    port: Port, *, network_name: str, mtu: int, tag: str | None = None, created: bool = True,
    security_groups: Iterable[str] = (), floating: Mapping[str, Iterable[str]] | None = None,
) -> Vif:
    """One interface. `floating`: floating addresses by the fixed address they lead to."""
    addresses = tuple(
        VifAddress(
            ip.ip_address, 6 if ":" in ip.ip_address else 4, ip.subnet_id,
            tuple((floating or {}).get(ip.ip_address, ())),
        )
        for ip in port.fixed_ips
    )
    return Vif(
        port_id=port.id, mac=port.mac_address, network_id=port.network_id, network_name=network_name, mtu=mtu,
        status=port.status, tag=tag, created=created, addresses=addresses, security_groups=tuple(security_groups),
    )


def floating_by_fixed(found: Iterable[FloatingIp]) -> dict[str, dict[str, list[str]]]:
    """Floating addresses by port and fixed address."""
    result: dict[str, dict[str, list[str]]] = {}
    for item in found:
        if item.port_id and item.fixed_ip_address:
            ports = result.setdefault(item.port_id, {})
            ports.setdefault(item.fixed_ip_address, []).append(item.floating_ip_address)
    return result


def refreshed(
    known: tuple[Vif, ...], ports: Iterable[Port], floating: Mapping[str, Mapping[str, Iterable[str]]],
    group_names: Mapping[str, str], network_names: Mapping[str, str],
) -> tuple[Vif, ...]:
    """The interfaces as they are now: order, tags and origin are kept, ports that are gone are dropped, ports that were
    plugged otherwise are added."""
    now = {port.id: port for port in ports}
    kept: list[Vif] = []
    for old in [*known, *(_blank(port) for port in now.values() if port.id not in {v.port_id for v in known})]:
        port = now.get(old.port_id)
        if port is None:
            continue
        kept.append(vif(
            port, network_name=network_names.get(port.network_id, old.network_name), mtu=old.mtu, tag=old.tag,
            created=old.created, security_groups=[group_names.get(g, g) for g in port.security_groups],
            floating=floating.get(port.id, {}),
        ))
    return tuple(kept)


def _blank(port: Port) -> Vif:
    return Vif(port_id=port.id, mac=port.mac_address, network_id=port.network_id, network_name="", created=False)


def with_status(known: tuple[Vif, ...], port_id: str, status: str) -> tuple[Vif, ...]:
    """The same interfaces with one's status changed."""
    return tuple(msgspec.structs.replace(v, status=status) if v.port_id == port_id else v for v in known)
