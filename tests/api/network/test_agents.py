"""The server's side of agents: binding by what a host can carry, placement, peers, reports, death of an agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cloud import Cloud
from pileus.services.network.rpc import (
    SERVER_TOPIC,
    AgentHeartbeat,
    DhcpReport,
    FetchHostDhcp,
    FetchHostNetworks,
    FetchHostRouters,
    HostChanged,
    PortReport,
    ReportDhcp,
    ReportPorts,
    agent_topic,
)

from .client import Caller, eventually

SERVICES = ("identity", "network")
DOWN_S = 1.5
NETWORK = {"mechanism_driver": "linuxbridge", "agent_down_time_s": DOWN_S, "schedule_interval_s": 0.2}


class Hosts:
    """Stands in for the agents of a few hosts: beats for them, asks and reports as they would."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.rung: list[tuple[str, str]] = []
        assert cloud.node is not None
        self.bus = cloud.node.bus
        self.alive: set[tuple[str, str]] = set()
        cloud.run(self._keep_beating())

    def call(self, message: Any) -> Any:
        return self.cloud.run(self.bus.call(SERVER_TOPIC, message))

    def start(self, kind: Any, host: str, **configurations: Any) -> None:
        """An agent comes up, and listens for its doorbell."""

        async def rung(_: HostChanged) -> None:
            self.rung.append((kind, host))

        async def listen() -> None:
            self.bus.listen(agent_topic(kind, host), {HostChanged: rung})

        self.cloud.run(listen())
        self._configurations[kind, host] = configurations
        self.alive.add((kind, host))
        self.call(self._beat(kind, host, fresh=True))

    def _beat(self, kind: Any, host: str, *, fresh: bool = False) -> AgentHeartbeat:
        return AgentHeartbeat(
            host=host, agent_type=kind, binary=f"pileus-{kind}-agent", description=f"{kind} agent", fresh_start=fresh,
            started_at="2026-01-01T00:00:00+00:00", configurations=self._configurations[kind, host],
        )  # fmt: skip

    async def _keep_beating(self) -> None:
        self._configurations: dict[tuple[str, str], dict[str, Any]] = {}
        assert self.cloud.node is not None

        async def beat() -> None:
            for kind, host in sorted(self.alive):
                await self.bus.call(SERVER_TOPIC, self._beat(kind, host))

        self.cloud.node.runtimes["network"].every(DOWN_S / 4, beat, name="beats of imagined agents")


@pytest.fixture
def cloud(tmp_path: Any) -> Iterator[Cloud]:
    roles = ("identity-api", "network-api", "network-server")
    with Cloud(tmp_path, services=SERVICES, tables={"network": NETWORK}, roles=roles) as running:
        yield running


@pytest.fixture
def hosts(cloud: Cloud) -> Hosts:
    return Hosts(cloud)


@pytest.fixture
def admin(cloud: Cloud) -> Caller:
    return Caller(cloud, cloud.admin_token())


def _tunnel(address: str) -> dict[str, Any]:
    return {"tunneling_ip": address, "tunnel_types": ["vxlan"], "bridge_mappings": {"phys": "br-x"}}


def test_a_host_carries_what_its_agent_says(admin: Caller, hosts: Hosts) -> None:
    hosts.start("l2", "a", **_tunnel("192.0.2.1"))
    hosts.start("l2", "plain", tunneling_ip="", tunnel_types=[], bridge_mappings={"phys": "br-x"})
    vxlan, _ = admin.wired()
    flat = admin.make("networks", provider__network_type="flat", provider__physical_network="phys")
    other = admin.make("networks", provider__network_type="flat", provider__physical_network="elsewhere")
    for network, host, vif in (
        (vxlan, "a", "bridge"), (vxlan, "plain", "binding_failed"), (vxlan, "unknown", "binding_failed"),
        (flat, "plain", "bridge"), (other, "plain", "binding_failed"),
    ):  # fmt: skip
        port = admin.make("ports", network_id=network["id"], binding__host_id=host)
        assert port["binding:vif_type"] == vif, (network["id"], host)
    strange = admin.make("ports", network_id=vxlan["id"], binding__host_id="a", binding__vnic_type="direct")
    assert strange["binding:vif_type"] == "binding_failed"
    late = admin.list("ports", binding__host_id="unknown")[0]
    hosts.start("l2", "unknown", **_tunnel("192.0.2.9"))
    eventually(lambda: admin.get("ports", late["id"])["binding:vif_type"] == "bridge")


def test_hosts_of_a_network_know_each_other_as_peers(admin: Caller, hosts: Hosts) -> None:
    hosts.start("l2", "a", **_tunnel("192.0.2.1"))
    hosts.start("l2", "b", **_tunnel("192.0.2.2"))
    network, subnet = admin.wired("10.0.0.0/24")
    first = admin.make("ports", network_id=network["id"], binding__host_id="a", device_owner="compute:nova")
    before = hosts.call(FetchHostNetworks(host="a"))
    assert before.networks[0].peers == ()
    second = admin.make("ports", network_id=network["id"], binding__host_id="b", device_owner="compute:nova")
    eventually(lambda: {("l2", "a"), ("l2", "b")} <= set(hosts.rung))
    state = hosts.call(FetchHostNetworks(host="a"))
    assert state.generation > before.generation
    (carried,), (port,) = state.networks, state.ports
    assert (carried.peers, carried.network_type, carried.mtu) == (("192.0.2.2",), "vxlan", 1450)
    assert carried.segmentation_id == network["provider:segmentation_id"]
    assert (port.id, port.mac_address) == (first["id"], first["mac_address"])
    assert port.device_name == f"tap{first['id'][:11]}"
    assert (port.fixed_ips[0].prefix_length, port.fixed_ips[0].subnet_id) == (24, subnet["id"])
    admin.drop("ports", second["id"])
    assert hosts.call(FetchHostNetworks(host="a")).networks[0].peers == ()
    assert hosts.call(FetchHostNetworks(host="b")).ports == ()


def test_a_port_is_active_when_wired_and_leased_as_of_its_binding(admin: Caller, hosts: Hosts) -> None:
    hosts.start("l2", "a", **_tunnel("192.0.2.1"))
    hosts.start("dhcp", "a")
    network, _ = admin.wired("10.0.0.0/24")
    port = admin.make("ports", network_id=network["id"], binding__host_id="a", device_owner="compute:nova")
    key = port["id"]
    generation = hosts.call(FetchHostNetworks(host="a")).generation

    def wired(at: int, status: Any = "ACTIVE", host: str = "a") -> None:
        hosts.call(ReportPorts(host=host, generation=at, ports=(PortReport(port_id=key, status=status),)))

    wired(generation - 100)
    wired(generation, host="b")
    assert admin.get("ports", key)["status"] == "DOWN"
    wired(generation)
    assert admin.get("ports", key)["status"] == "DOWN"  # no lease yet
    dhcp = hosts.call(FetchHostDhcp(host="a"))
    (served,) = dhcp.networks
    assert {host.port_id for host in served.hosts} == {key}
    assert served.hosts[0].hostname.startswith("host-10-0-0-")
    ready = DhcpReport(network_id=network["id"], status="ACTIVE", port_ids=(key,))
    hosts.call(ReportDhcp(host="a", generation=dhcp.generation, networks=(ready,)))
    assert admin.get("ports", key)["status"] == "ACTIVE"
    wired(generation, "DOWN")
    assert admin.get("ports", key)["status"] == "DOWN"
    wired(generation, "ERROR")
    assert admin.get("ports", key)["status"] == "ERROR"
    wired(generation)
    assert admin.get("ports", key)["status"] == "ACTIVE"
    accepted = hosts.call(ReportPorts(host="a", generation=generation, ports=()))
    assert accepted.generation == hosts.call(FetchHostNetworks(host="a")).generation


def test_what_a_dead_agent_had_goes_to_a_living_one(admin: Caller, hosts: Hosts) -> None:
    for kind in ("l2", "l3", "dhcp"):
        hosts.start(kind, "a", **(_tunnel("192.0.2.1") if kind == "l2" else {}))
    external = admin.make(
        "networks", router__external=True, provider__network_type="flat", provider__physical_network="phys"
    )
    admin.make("subnets", network_id=external["id"], ip_version=4, cidr="203.0.113.0/24", enable_dhcp=False)
    network, subnet = admin.wired("10.0.0.0/24")
    port = admin.make("ports", network_id=network["id"])
    router = admin.make("routers", external_gateway_info={"network_id": external["id"]})
    admin.ok("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    floating = admin.make("floatingips", floating_network_id=external["id"], port_id=port["id"])
    (dhcp,) = admin.list("ports", device_owner="network:dhcp")
    assert dhcp["binding:host_id"] == "a"
    (told,) = hosts.call(FetchHostRouters(host="a")).routers
    assert {item.id for item in told.floating_ips} == {floating["id"]}
    assert len([p for p in hosts.call(FetchHostNetworks(host="a")).ports if p.trusted]) == 3
    for kind in ("l2", "l3", "dhcp"):
        hosts.start(kind, "b", **(_tunnel("192.0.2.2") if kind == "l2" else {}))
    assert hosts.call(FetchHostRouters(host="b")).routers == ()
    hosts.alive -= {("l3", "a"), ("dhcp", "a")}
    eventually(lambda: hosts.call(FetchHostRouters(host="b")).routers)
    eventually(lambda: hosts.call(FetchHostDhcp(host="b")).networks)
    assert hosts.call(FetchHostRouters(host="a")).routers == ()
    assert hosts.call(FetchHostDhcp(host="a")).networks == ()
    assert {p["binding:host_id"] for p in admin.list("ports", device_id=router["id"])} == {"b"}
    assert len([p for p in hosts.call(FetchHostNetworks(host="b")).ports if p.trusted]) == 3
    assert {("l3", "b"), ("dhcp", "b"), ("l3", "a")} <= set(hosts.rung)
    states = {(a["host"], a["binary"]): a["alive"] for a in admin.list("agents")}
    assert (states["a", "pileus-l3-agent"], states["b", "pileus-l3-agent"]) == (False, True)


def test_what_was_made_before_any_agent_is_placed_when_one_comes(admin: Caller, hosts: Hosts) -> None:
    network, subnet = admin.wired("10.0.0.0/24")
    admin.make("ports", network_id=network["id"])
    router = admin.make("routers")
    admin.ok("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    assert admin.list("ports", device_owner="network:dhcp") == []
    for kind in ("l2", "l3", "dhcp"):
        hosts.start(kind, "a", **(_tunnel("192.0.2.1") if kind == "l2" else {}))
    eventually(lambda: hosts.call(FetchHostRouters(host="a")).routers)
    eventually(lambda: hosts.call(FetchHostDhcp(host="a")).networks)
    assert {p["binding:vif_type"] for p in admin.list("ports", binding__host_id="a")} == {"bridge"}


def test_an_idle_host_has_nothing_after_everything_was_deleted(admin: Caller, hosts: Hosts) -> None:
    for kind in ("l2", "l3", "dhcp"):
        hosts.start(kind, "a", **(_tunnel("192.0.2.1") if kind == "l2" else {}))
    network, subnet = admin.wired("10.0.0.0/24")
    port = admin.make("ports", network_id=network["id"], binding__host_id="a")
    router = admin.make("routers")
    admin.ok("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    admin.ok("PUT", f"routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    admin.drop("routers", router["id"])
    admin.drop("ports", port["id"])
    admin.drop("networks", network["id"])
    assert hosts.call(FetchHostNetworks(host="a")).networks == ()
    assert hosts.call(FetchHostRouters(host="a")).routers == ()
    assert hosts.call(FetchHostDhcp(host="a")).networks == ()
    assert admin.list("ports") == []
