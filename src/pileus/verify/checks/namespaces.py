"""Namespaces of routers and DHCP on this host against the routers and networks they serve."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pileus.services.network.drivers.dhcp.dnsmasq.driver import NAMESPACE_PREFIX as DHCP_PREFIX
from pileus.services.network.drivers.dhcp.dnsmasq.driver import namespace_of as dhcp_namespace
from pileus.services.network.drivers.dhcp.dnsmasq.files import served_subnets
from pileus.services.network.drivers.l3.netns.driver import NAMESPACE_PREFIX as ROUTER_PREFIX
from pileus.services.network.drivers.l3.netns.driver import namespace_of as router_namespace
from pileus.services.network.drivers.l3.netns.driver import ports_of
from pileus.services.network.rpc import DEVICE_ID_CHARS, HostRouter
from pileus.verify.checks.parts import read
from pileus.verify.evidence.whole import Evidence
from pileus.verify.finding import Difference


def router_without_row(evidence: Evidence) -> Iterator[Difference]:
    """A router's namespace without a router that is placed here."""
    wanted = {router_namespace(router.id) for router in _routers(evidence)}
    yield from _extra(evidence, ROUTER_PREFIX, wanted, "no router of that id is on this host")


def dhcp_without_network(evidence: Evidence) -> Iterator[Difference]:
    """A DHCP namespace of a network whose DHCP is not here."""
    wanted = {dhcp_namespace(network.id) for network in read(evidence.desired).dhcp.networks}
    yield from _extra(evidence, DHCP_PREFIX, wanted, "no network of that id has its DHCP on this host")


def _extra(evidence: Evidence, prefix: str, wanted: Iterable[str], why: str) -> Iterator[Difference]:
    known = set(wanted)
    for namespace in read(evidence.kernel).namespaces.values():
        if namespace.is_ours and namespace.name.startswith(prefix) and namespace.name not in known:
            yield Difference(
                resources={"namespace": namespace.name}, host=evidence.host,
                says=f"{evidence.host}: there is a namespace {namespace.name}", found=f"network: {why}",
            )  # fmt: skip


def router_without_namespace(evidence: Evidence) -> Iterator[Difference]:
    """A router that is placed here, and nothing routes; or not on all its interfaces."""
    for router in _routers(evidence):
        inner = [port.inner for port in ports_of(router)]
        yield from _lack(evidence, {"router": router.id}, router_namespace(router.id), inner, "the router is")


def network_without_dhcp(evidence: Evidence) -> Iterator[Difference]:
    """A network whose DHCP is placed here, and has no namespace."""
    for network in read(evidence.desired).dhcp.networks:
        inner = [f"ns-{network.port_id[:DEVICE_ID_CHARS]}"]
        yield from _lack(evidence, {"network": network.id}, dhcp_namespace(network.id), inner, "its DHCP is")


def _lack(
    evidence: Evidence, resources: dict[str, str], name: str, inner: list[str], what: str
) -> Iterator[Difference]:
    namespace = read(evidence.kernel).namespaces.get(name)
    if namespace is None:
        found = f"there is no namespace {name}"
    elif missing := [device for device in inner if device not in namespace.links]:
        found = f"namespace {name} has no {', '.join(missing)}"
    else:
        return
    yield Difference(
        resources=resources, host=evidence.host, says=f"network: {what} on {evidence.host}",
        found=f"{evidence.host}: {found}",
    )  # fmt: skip


def dnsmasq_without_network(evidence: Evidence) -> Iterator[Difference]:
    """A dnsmasq (or its files) of a network whose DHCP is not here."""
    wanted = {network.id for network in read(evidence.desired).dhcp.networks}
    for record in read(evidence.dhcp).values():
        if record.network_id not in wanted:
            what = f"dnsmasq {record.pid} runs" if record.pid else "files of a dnsmasq are there"
            yield Difference(
                resources={"network": record.network_id}, host=evidence.host,
                says=f"{evidence.host}: {what}",
                found="network: no network of that id has its DHCP on this host",
            )  # fmt: skip


def network_without_dnsmasq(evidence: Evidence) -> Iterator[Difference]:
    """A network whose DHCP is placed here, and nobody answers."""
    for network in read(evidence.desired).dhcp.networks:
        record = read(evidence.dhcp).get(network.id)
        if served_subnets(network) and (record is None or record.pid is None):
            yield Difference(
                resources={"network": network.id}, host=evidence.host,
                says=f"network: its DHCP is on {evidence.host}", found=f"{evidence.host}: no dnsmasq runs for it",
            )  # fmt: skip


def _routers(evidence: Evidence) -> list[HostRouter]:
    return [router for router in read(evidence.desired).l3.routers if router.admin_state_up]
