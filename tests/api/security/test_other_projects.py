"""Every id that a body or a query can carry, when it is somebody else's: network and floating IPs, routers, ports."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.network.client import Caller
from cloud import Cloud

SERVICES = ("identity", "network")
NOBODY = "00000000-0000-4000-8000-000000000000"


class World:
    """Alice's things, and Bob who wants them."""

    def __init__(self, cloud: Cloud) -> None:
        self.admin = Caller(cloud, cloud.admin_token())
        self.alice, self.bob = (self._project(cloud, name) for name in ("alice", "bob"))
        self.network, self.subnet = self.alice.wired("10.1.0.0/24")
        self.port = self.alice.make("ports", network_id=self.network["id"])
        self.group = self.alice.make("security-groups", name="hers")
        self.router = self.alice.make("routers")
        self.mine, self.my_subnet = self.bob.wired("10.2.0.0/24")
        self.my_router = self.bob.make("routers")
        self.my_port = self.bob.make("ports", network_id=self.mine["id"])
        self.shared, self.shared_subnet = self.admin.wired("10.3.0.0/24", shared=True)
        self.outside, self.outside_subnet = self.admin.wired("203.0.113.0/24", router__external=True)

    def _project(self, cloud: Cloud, name: str) -> Caller:
        project_id, token = cloud.new_project(name)
        return Caller(cloud, token, project_id)


@pytest.fixture(scope="module")
def world(cloud: Cloud) -> World:
    return World(cloud)


def test_no_body_reaches_a_foreign_resource(world: World) -> None:
    w, mine = world, {"network_id": world.mine["id"]}
    attempts: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "ports", {"port": {"network_id": w.network["id"]}}),
        ("POST", "ports", {"port": {**mine, "security_groups": [w.group["id"]]}}),
        ("POST", "ports", {"port": {**mine, "fixed_ips": [{"subnet_id": w.subnet["id"]}]}}),
        ("POST", "ports", {"port": {**mine, "project_id": w.alice.project_id}}),
        ("POST", "ports", {"ports": [mine, {"port": {"network_id": w.network["id"]}}]}),
        ("POST", "subnets", {"subnet": {"network_id": w.network["id"], "ip_version": 4, "cidr": "10.9.0.0/24"}}),
        ("POST", "subnets", {"subnet": {"network_id": w.shared["id"], "ip_version": 4, "cidr": "10.9.0.0/24"}}),
        ("POST", "subnets", {"subnet": {"network_id": w.outside["id"], "ip_version": 4, "cidr": "10.9.0.0/24"}}),
        ("POST", "floatingips", {"floatingip": {"floating_network_id": w.network["id"]}}),
        ("POST", "floatingips", {"floatingip": {"floating_network_id": w.mine["id"]}}),
        ("POST", "floatingips",
         {"floatingip": {"floating_network_id": w.outside["id"], "port_id": w.port["id"]}}),
        ("POST", "floatingips",
         {"floatingip": {"floating_network_id": w.outside["id"], "subnet_id": w.subnet["id"]}}),
        ("POST", "routers", {"router": {"external_gateway_info": {"network_id": w.network["id"]}}}),
        ("POST", "routers", {"router": {"external_gateway_info": {"network_id": w.shared["id"]}}}),
        ("POST", "security-group-rules",
         {"security_group_rule": {"security_group_id": w.group["id"], "direction": "ingress"}}),
        ("PUT", f"routers/{w.my_router['id']}/add_router_interface", {"subnet_id": w.subnet["id"]}),
        ("PUT", f"routers/{w.my_router['id']}/add_router_interface", {"port_id": w.port["id"]}),
        ("PUT", f"routers/{w.my_router['id']}/add_router_interface", {"subnet_id": w.outside_subnet["id"]}),
        ("PUT", f"routers/{w.router['id']}/add_router_interface", {"subnet_id": w.my_subnet["id"]}),
        ("PUT", f"routers/{w.my_router['id']}/remove_router_interface", {"port_id": w.port["id"]}),
        ("PUT", f"ports/{w.my_port['id']}", {"port": {"security_groups": [w.group["id"]]}}),
        ("PUT", f"ports/{w.my_port['id']}", {"port": {"fixed_ips": [{"subnet_id": w.subnet["id"]}]}}),
        ("PUT", f"ports/{w.my_port['id']}", {"port": {"project_id": w.alice.project_id}}),
        ("PUT", f"ports/{w.my_port['id']}", {"port": {"network_id": w.shared["id"]}}),
        ("PUT", f"networks/{w.mine['id']}", {"network": {"shared": True}}),
        ("PUT", f"networks/{w.mine['id']}", {"network": {"router:external": True}}),
        ("PUT", f"networks/{w.mine['id']}", {"network": {"tenant_id": w.alice.project_id}}),
        ("PUT", f"routers/{w.my_router['id']}", {"router": {"status": "ERROR"}}),
        ("PUT", f"networks/{w.shared['id']}/tags", {"tags": ["mine"]}),
        ("PUT", f"subnets/{w.outside_subnet['id']}/tags", {"tags": ["mine"]}),
    ]
    for method, path, body in attempts:
        answer = w.bob.send(method, path, body)
        assert answer.status_code in (400, 403, 404), (method, path, body, answer.status_code, answer.text)
    default = next(g["id"] for g in w.bob.list("security-groups") if g["name"] == "default")
    rule = {"security_group_id": default, "direction": "ingress", "remote_group_id": w.group["id"]}
    assert w.bob.send("POST", "security-group-rules", {"security_group_rule": rule}).status_code == 404


def test_what_is_not_there_and_what_is_foreign_look_the_same(world: World) -> None:
    w = world
    for path, key in (("networks", w.network), ("ports", w.port), ("routers", w.router), ("security-groups", w.group)):
        foreign, missing = (w.bob.send("GET", f"{path}/{one}") for one in (key["id"], NOBODY))
        assert foreign.status_code == missing.status_code == 404
        assert foreign.text.replace(key["id"], "") == missing.text.replace(NOBODY, "")


@pytest.mark.parametrize("filters", [
    {"all_tenants": "1"}, {"project_id": "alice"}, {"tenant_id": "alice"}, {"network_id": "net"}, {"id": "port"},
    {"device_id": ""}, {"fixed_ips": "ip_address=10.1.0.2"}, {"marker": "port"}, {"binding:host_id": "test-host"},
])  # fmt: skip
def test_no_filter_shows_what_is_foreign(world: World, filters: dict[str, str]) -> None:
    names = {"alice": world.alice.project_id, "net": world.network["id"], "port": world.port["id"]}
    query = {name: names.get(value, value) for name, value in filters.items()}
    answer = world.bob.send("GET", "ports", params=query)
    assert answer.status_code in (200, 400, 404)
    if answer.status_code == 200:
        owned = {port["project_id"] for port in answer.json()["ports"]}
        assert owned <= {world.bob.project_id, ""}
        # Ports of the cloud itself on the caller's own network are the caller's to see, others are not.
        assert {port["network_id"] for port in answer.json()["ports"]} <= {world.mine["id"]}


def test_no_router_takes_the_gateway_address_of_a_shared_network(world: World) -> None:
    """Who answers for the gateway of a shared network reads everybody's traffic there."""
    path = f"routers/{world.my_router['id']}/add_router_interface"
    answer = world.bob.send("PUT", path, {"subnet_id": world.shared_subnet["id"]})
    assert answer.status_code in (400, 403), answer.text
    wanted = {"network_id": world.shared["id"], "fixed_ips": [{"ip_address": world.shared_subnet["gateway_ip"]}]}
    assert world.bob.send("POST", "ports", {"port": wanted}).status_code == 403
    # With an address of its own the router is a neighbour like any other.
    port = world.bob.make("ports", network_id=world.shared["id"])
    world.bob.ok("PUT", path, {"port_id": port["id"]})
    moved = world.bob.send("PUT", f"ports/{port['id']}", {"port": {"fixed_ips": wanted["fixed_ips"]}})
    assert moved.status_code == 403
    world.bob.ok("PUT", path.replace("add_", "remove_"), {"port_id": port["id"]})


def test_a_member_does_not_become_the_network(world: World) -> None:
    port = world.bob.make("ports", network_id=world.shared["id"])
    for owner in ("network:dhcp", "network:router_interface", "network:router_gateway", "network:floatingip"):
        for method, path, values in (
            ("POST", "ports", {"network_id": world.shared["id"], "device_owner": owner}),
            ("PUT", f"ports/{port['id']}", {"device_owner": owner, "device_id": world.router["id"]}),
        ):
            assert world.bob.send(method, path, {"port": values}).status_code == 403, (method, owner)
        # On a network of their own they may write the word, but the port stays filtered.
        own = world.bob.make("ports", network_id=world.mine["id"], device_owner=owner, device_id=world.router["id"])
        assert own["port_security_enabled"] is True
        assert own["security_groups"]
        world.bob.drop("ports", own["id"])
    assert world.alice.get("routers", world.router["id"])["external_gateway_info"] is None
    for values in ({"binding:host_id": "x"}, {"binding:profile": {"a": 1}}, {"mac_address": "fa:16:3e:00:00:01"},
                   {"port_security_enabled": False}, {"allowed_address_pairs": [{"ip_address": "0.0.0.0/0"}]}):
        assert world.bob.send("PUT", f"ports/{port['id']}", {"port": values}).status_code == 403, values


@pytest.mark.parametrize(("kind", "limit"), [("networks", 4), ("ports", 6), ("routers", 3), ("security-groups", 4)])
def test_twenty_at_once_do_not_pass_the_quota(cloud: Cloud, world: World, kind: str, limit: int) -> None:
    project_id, token = cloud.new_project(f"racer-{kind}")
    racer = Caller(cloud, token, project_id)
    network = racer.make("networks")
    singular = {"security-groups": "security_group"}.get(kind, kind[:-1])
    world.admin.ok("PUT", f"quotas/{project_id}", {"quota": {singular: limit}})
    values = {"ports": {"network_id": network["id"]}, "security-groups": {"name": "x"}}.get(kind, {})
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: racer.send("POST", kind, {singular: values}).status_code, range(20)))
    assert set(answers) == {201, 409}
    assert len([one for one in racer.list(kind) if one["project_id"] == project_id]) == limit
