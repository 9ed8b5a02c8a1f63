"""Routers and floating IPs."""

from __future__ import annotations

from typing import Any

import pytest

from cloud import Cloud
from pileus.services.network.rpc import SERVER_TOPIC, FetchHostRouters, FindMetadataPort, HostRouter

from .client import Caller, eventually

SERVICES = ("identity", "network")
MISSING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def external(admin: Caller) -> Any:
    """An external network with addresses."""
    eventually(lambda: len(admin.list("agents")) >= 3)
    network = admin.make("networks", name="public", router__external=True)
    subnet = admin.make("subnets", network_id=network["id"], ip_version=4, cidr="203.0.113.0/24", enable_dhcp=False)
    return network | {"subnet": subnet}


def _routed(caller: Caller, external: Any, cidr: str = "10.0.0.0/24") -> tuple[Any, Any, Any]:
    """A router from a new subnet to the outside."""
    network, subnet = caller.wired(cidr)
    router = caller.make("routers", name="r", external_gateway_info={"network_id": external["id"]})
    caller.ok("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    return router, network, subnet


def _told(cloud: Cloud, router_id: str) -> HostRouter:
    """A router as the L3 agent is told."""
    assert cloud.node is not None
    state = cloud.run(cloud.node.bus.call(SERVER_TOPIC, FetchHostRouters(host="test-host")))
    return next(router for router in state.routers if router.id == router_id)


def test_a_router_connects_a_subnet_to_the_outside(alice: Caller, admin: Caller, external: Any, cloud: Cloud) -> None:
    router, network, subnet = _routed(alice, external)
    info = alice.get("routers", router["id"])["external_gateway_info"]
    assert (info["network_id"], info["enable_snat"]) == (external["id"], True)
    outer = info["external_fixed_ips"][0]["ip_address"]
    (inner,) = alice.list("ports", device_id=router["id"])
    assert (inner["device_owner"], inner["fixed_ips"][0]["ip_address"]) == ("network:router_interface", "10.0.0.1")
    eventually(lambda: alice.get("ports", inner["id"])["status"] == "ACTIVE")
    told = _told(cloud, router["id"])
    assert told.gateway is not None
    assert (told.gateway.fixed_ips[0].ip_address, told.gateway.next_hops) == (outer, ("203.0.113.1",))
    assert told.interfaces[0].fixed_ips[0].prefix_length == 24
    (agent,) = admin.ok("GET", f"routers/{router['id']}/l3-agents")["agents"]
    assert router["id"] in {r["id"] for r in admin.ok("GET", f"agents/{agent['id']}/l3-routers")["routers"]}
    alice.error("DELETE", f"routers/{router['id']}", None, 409, "RouterInUse")
    alice.error("DELETE", f"ports/{inner['id']}", None, 409, "ServicePortInUse")
    alice.error("DELETE", f"subnets/{subnet['id']}", None, 409, "SubnetInUse")
    alice.error("DELETE", f"networks/{network['id']}", None, 409, "NetworkInUse")
    alice.ok("PUT", f"routers/{router['id']}/remove_router_interface", {"port_id": inner["id"]})
    alice.drop("routers", router["id"])
    alice.drop("networks", network["id"])
    assert alice.list("ports") == []
    assert admin.list("ports", device_id=router["id"]) == []


def test_interfaces_that_cannot_be_are_refused(alice: Caller, bob: Caller, external: Any) -> None:
    router, network, subnet = _routed(alice, external)
    path = f"routers/{router['id']}/add_router_interface"
    alice.error("PUT", path, {"subnet_id": subnet["id"]}, 400, "BadRequest")
    _, overlapping = alice.wired("10.0.0.128/25")
    alice.error("PUT", path, {"subnet_id": overlapping["id"]}, 400, "BadRequest")
    _, outside = alice.wired("203.0.113.0/25")
    alice.error("PUT", path, {"subnet_id": outside["id"]}, 400, "BadRequest")
    _, foreign = bob.wired("10.77.0.0/24")
    alice.error("PUT", path, {"subnet_id": foreign["id"]}, 404, "SubnetNotFound")
    foreign_port = bob.make("ports", network_id=foreign["network_id"])
    alice.error("PUT", path, {"port_id": foreign_port["id"]}, 404, "PortNotFound")
    bob.error("PUT", path, {"subnet_id": foreign["id"]}, 404, "RouterNotFound")
    alice.error("PUT", path, {}, 400, "HTTPBadRequest")
    alice.error("PUT", path, {"subnet_id": None}, 400, "BadRequest")
    alice.error("PUT", path, {"subnet_id": "x"}, 400, "HTTPBadRequest")
    alice.error("PUT", path, {"subnet_id": subnet["id"], "port_id": MISSING}, 400, "BadRequest")
    used = alice.make("ports", network_id=network["id"], device_id="server")
    alice.error("PUT", path, {"port_id": used["id"]}, 409, "PortInUse")
    remove = f"routers/{router['id']}/remove_router_interface"
    alice.error("PUT", remove, {"port_id": used["id"]}, 404, "RouterInterfaceNotFound")
    alice.error("PUT", remove, {"subnet_id": overlapping["id"]}, 404, "RouterInterfaceNotFoundForSubnet")


def test_an_existing_port_becomes_the_routers(alice: Caller, external: Any, cloud: Cloud) -> None:
    router, _, _ = _routed(alice, external)
    network, _ = alice.wired("10.8.0.0/24")
    port = alice.make("ports", network_id=network["id"], fixed_ips=[{"ip_address": "10.8.0.200"}])
    answer = alice.ok("PUT", f"routers/{router['id']}/add_router_interface", {"port_id": port["id"]})
    assert answer["port_id"] == port["id"]
    assert {i.fixed_ips[0].ip_address for i in _told(cloud, router["id"]).interfaces} == {"10.0.0.1", "10.8.0.200"}
    alice.error("PUT", f"ports/{port['id']}", {"port": {"device_owner": "compute:nova"}}, 400, "BadRequest")
    alice.ok("PUT", f"routers/{router['id']}/remove_router_interface", {"port_id": port["id"]})
    alice.error("GET", f"ports/{port['id']}", None, 404, "PortNotFound")


def test_the_gateway_can_be_changed_and_taken_away(alice: Caller, admin: Caller, external: Any) -> None:
    network, _ = alice.wired()
    bad = {"router": {"external_gateway_info": {"network_id": network["id"]}}}
    alice.error("POST", "routers", bad, 400, "BadRequest")
    bad = {"router": {"external_gateway_info": {"network_id": external["id"], "enable_snat": False}}}
    alice.error("POST", "routers", bad, 403, "PolicyNotAuthorized")
    alice.error("POST", "routers", {"router": {"external_gateway_info": {"enable_snat": True}}}, 400, "HTTPBadRequest")
    router = alice.make("routers")
    assert router["external_gateway_info"] is None
    fixed = [{"ip_address": "203.0.113.77"}]
    info = {"network_id": external["id"], "enable_snat": False, "external_fixed_ips": fixed}
    changed = admin.set("routers", router["id"], external_gateway_info=info)["external_gateway_info"]
    assert (changed["enable_snat"], changed["external_fixed_ips"][0]["ip_address"]) == (False, "203.0.113.77")
    assert alice.set("routers", router["id"], external_gateway_info=None)["external_gateway_info"] is None
    again = alice.set("routers", router["id"], external_gateway_info={"network_id": external["id"]}, name="x")
    assert again["external_gateway_info"]["network_id"] == external["id"]
    assert alice.set("routers", router["id"], external_gateway_info={})["external_gateway_info"] is None
    alice.drop("routers", router["id"])


def test_extra_routes_lead_to_neighbours_only(alice: Caller, external: Any, cloud: Cloud) -> None:
    router, _, subnet = _routed(alice, external)
    first = {"destination": "192.168.0.0/16", "nexthop": "10.0.0.9"}
    second = {"destination": "172.16.0.0/12", "nexthop": "10.0.0.10"}
    assert alice.set("routers", router["id"], routes=[first])["routes"] == [first]
    path = f"routers/{router['id']}"
    added = alice.ok("PUT", f"{path}/add_extraroutes", {"router": {"routes": [first, second]}})
    assert added["router"]["routes"] == [first, second]
    assert {route.nexthop for route in _told(cloud, router["id"]).routes} == {"10.0.0.9", "10.0.0.10"}
    removed = alice.ok("PUT", f"{path}/remove_extraroutes", {"router": {"routes": [second]}})
    assert removed["router"]["routes"] == [first]
    for hop in ("10.99.0.1", "10.0.0.1"):
        body = {"router": {"routes": [{"destination": "192.168.0.0/16", "nexthop": hop}]}}
        alice.error("PUT", path, body, 400, "InvalidRoutes")
    many = [{"destination": f"192.168.{i}.0/24", "nexthop": "10.0.0.9"} for i in range(40)]
    alice.error("PUT", path, {"router": {"routes": many}}, 400, "RoutesExhausted")
    alice.error("PUT", path, {"router": {"routes": [{"destination": "x", "nexthop": "10.0.0.9"}]}}, 400,
                "HTTPBadRequest")  # fmt: skip
    alice.error("PUT", f"{path}/remove_router_interface", {"subnet_id": subnet["id"]}, 409,
                "RouterInterfaceInUseByRoute")  # fmt: skip


def test_a_floating_ip_leads_to_a_port_and_away_again(alice: Caller, external: Any, cloud: Cloud) -> None:
    router, network, subnet = _routed(alice, external)
    port = alice.make("ports", network_id=network["id"])
    inner = port["fixed_ips"][0]["ip_address"]
    floating = alice.make("floatingips", floating_network_id=external["id"], description="d")
    assert (floating["status"], floating["port_id"], floating["router_id"]) == ("DOWN", None, None)
    path = f"floatingips/{floating['id']}"
    led = alice.set("floatingips", floating["id"], port_id=port["id"])
    assert (led["port_id"], led["fixed_ip_address"], led["router_id"]) == (port["id"], inner, router["id"])
    eventually(lambda: alice.get("floatingips", floating["id"])["status"] == "ACTIVE")
    (told,) = _told(cloud, router["id"]).floating_ips
    assert (told.floating_ip_address, told.fixed_ip_address) == (floating["floating_ip_address"], inner)
    body = {"floatingip": {"floating_network_id": external["id"], "port_id": port["id"]}}
    alice.error("POST", "floatingips", body, 409, "FloatingIPPortAlreadyAssociated")
    alice.error("PUT", f"routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]}, 409,
                "RouterInterfaceInUseByFloatingIP")  # fmt: skip
    alice.error("PUT", f"routers/{router['id']}", {"router": {"external_gateway_info": None}}, 409,
                "RouterExternalGatewayInUseByFloatingIp")  # fmt: skip
    away = alice.ok("PUT", path, {"floatingip": {"port_id": None}})["floatingip"]
    assert (away["port_id"], away["router_id"], away["status"]) == (None, None, "DOWN")
    assert _told(cloud, router["id"]).floating_ips == ()
    alice.set("floatingips", floating["id"], port_id=port["id"], fixed_ip_address=inner)
    alice.drop("ports", port["id"])
    assert alice.get("floatingips", floating["id"])["port_id"] is None
    alice.drop("floatingips", floating["id"])
    alice.error("GET", path, None, 404, "FloatingIPNotFound")


def test_floating_ips_that_cannot_be_are_refused(alice: Caller, bob: Caller, admin: Caller, external: Any) -> None:
    _, network, _ = _routed(alice, external)
    port = alice.make("ports", network_id=network["id"])

    def refused(caller: Caller, status: int, kind: str, **values: Any) -> None:
        body = {"floatingip": {"floating_network_id": external["id"]} | values}
        caller.error("POST", "floatingips", body, status, kind)

    refused(alice, 400, "BadRequest", floating_network_id=network["id"])
    refused(alice, 404, "NetworkNotFound", floating_network_id=MISSING)
    refused(bob, 404, "PortNotFound", port_id=port["id"])
    refused(alice, 400, "BadRequest", port_id=port["id"], fixed_ip_address="10.0.0.99")
    refused(alice, 400, "BadRequest", fixed_ip_address="10.0.0.99")
    refused(alice, 403, "PolicyNotAuthorized", floating_ip_address="203.0.113.9")
    refused(admin, 400, "InvalidIpForNetwork", floating_ip_address="198.51.100.1")
    lonely, _ = alice.wired("10.50.0.0/24")
    stray = alice.make("ports", network_id=lonely["id"])
    refused(alice, 404, "ExternalGatewayForFloatingIPNotFound", port_id=stray["id"])
    both = [{"ip_address": "10.0.0.60"}, {"ip_address": "10.0.0.61"}]
    two = alice.make("ports", network_id=network["id"], fixed_ips=both)
    refused(alice, 400, "BadRequest", port_id=two["id"])
    assert alice.list("floatingips") == []
    assert admin.list("ports", device_owner="network:floatingip") == []
    led = {"port_id": two["id"], "fixed_ip_address": "10.0.0.61"}
    made = alice.make("floatingips", floating_network_id=external["id"], **led)
    assert made["fixed_ip_address"] == "10.0.0.61"
    bob.error("GET", f"floatingips/{made['id']}", None, 404, "FloatingIPNotFound")
    bob.error("DELETE", f"floatingips/{made['id']}", None, 404, "FloatingIPNotFound")
    certain = admin.make("floatingips", floating_network_id=external["id"], floating_ip_address="203.0.113.200")
    assert certain["floating_ip_address"] == "203.0.113.200"
    refused(admin, 409, "IpAddressAlreadyAllocated", floating_ip_address="203.0.113.200")
    admin.drop("floatingips", certain["id"])


def test_an_exhausted_external_network_says_so(alice: Caller, admin: Caller) -> None:
    network = admin.make("networks", router__external=True)
    admin.make("subnets", network_id=network["id"], ip_version=4, cidr="198.51.100.0/30", enable_dhcp=False)
    alice.make("floatingips", floating_network_id=network["id"])
    body = {"floatingip": {"floating_network_id": network["id"]}}
    alice.error("POST", "floatingips", body, 409, "IpAddressGenerationFailure")
    admin.error("PUT", f"networks/{network['id']}", {"network": {"router:external": False}}, 409,
                "ExternalNetworkInUse")  # fmt: skip


def test_metadata_finds_the_port_of_its_own_network_only(
    alice: Caller, bob: Caller, external: Any, cloud: Cloud
) -> None:
    answers = []
    for caller in (alice, bob):
        router, network, _ = _routed(caller, external)
        fixed = [{"ip_address": "10.0.0.42"}]
        port = caller.make("ports", network_id=network["id"], fixed_ips=fixed, device_id=f"server-{caller.project_id}")
        answers.append((router, network, port, caller))
    assert cloud.node is not None

    def ask(**where: str) -> Any:
        question = FindMetadataPort(source_ip=where.pop("ip", "10.0.0.42"), **where)
        assert cloud.node is not None
        return cloud.run(cloud.node.bus.call(SERVER_TOPIC, question))

    for router, network, port, caller in answers:
        for found in (ask(network_id=network["id"]), ask(router_id=router["id"])):
            assert (found.port_id, found.device_id) == (port["id"], f"server-{caller.project_id}")
            assert found.project_id == caller.project_id
        assert ask(network_id=network["id"], ip="10.0.0.1").port_id == ""
        assert ask(network_id=network["id"], ip="10.0.0.43").port_id == ""
    assert ask(network_id=MISSING).port_id == ""
    assert ask().port_id == ""
