"""Networks and subnets do what network clients expect."""

from __future__ import annotations

import pytest

from .client import Caller

SERVICES = ("identity", "network")


def test_a_network_shows_what_it_was_made_with_and_hides_what_carries_it(alice: Caller, admin: Caller) -> None:
    network = alice.make("networks", name="blue", description="d", admin_state_up=False, port_security_enabled=False)
    assert network["project_id"] == network["tenant_id"] == alice.project_id
    assert (network["name"], network["admin_state_up"], network["port_security_enabled"]) == ("blue", False, False)
    assert (network["mtu"], network["status"], network["shared"], network["router:external"]) == (
        1450, "ACTIVE", False, False,
    )  # fmt: skip
    assert not any(key.startswith("provider:") for key in network)
    seen = admin.get("networks", network["id"])
    assert seen["provider:network_type"] == "vxlan"
    assert seen["provider:segmentation_id"] >= 1


def test_an_update_is_a_new_revision_and_if_match_guards_it(alice: Caller) -> None:
    network = alice.make("networks")
    changed = alice.set("networks", network["id"], name="new", mtu=1400)
    assert (changed["name"], changed["mtu"]) == ("new", 1400)
    assert changed["revision_number"] > network["revision_number"]
    stale = alice.send(
        "PUT", f"networks/{network['id']}", {"network": {"name": "x"}}, headers={"If-Match": "revision_number=1"}
    )
    assert (stale.status_code, stale.json()["NeutronError"]["type"]) == (412, "RevisionNumberConstraintFailed")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"network": {"colour": "red"}}, "Unrecognized attribute(s) 'colour'"),
        ({"network": {"id": "x"}}, "Attribute 'id' not allowed in POST"),
        ({"network": {"name": 5}}, "Invalid input for name. Reason: '5' is not a valid string."),
        ({"network": {"name": "x" * 300}}, "exceeds maximum length of 255"),
        ({"network": {"admin_state_up": "maybe"}}, "'maybe' cannot be converted to boolean"),
        ({"network": {"mtu": 10}}, "too small"),
        ({"network": []}, "Unable to find 'network' in request body"),
        ({"networks": []}, "Resource body required"),
        ({}, "Resource body required"),
        ([1], "Resource body required"),
        ({"network": {"project_id": "somebody-else"}}, "requires admin privileges"),
    ],
)
def test_bad_bodies_are_refused_with_the_text_clients_know(alice: Caller, body: object, message: str) -> None:
    assert message in alice.error("POST", "networks", body, 400, "HTTPBadRequest")


def test_malformed_json_and_read_only_updates_are_refused(alice: Caller) -> None:
    response = alice.send("POST", "networks", data=b'{"network": ')
    assert (response.status_code, response.json()["NeutronError"]["type"]) == (400, "HTTPBadRequest")
    network = alice.make("networks")
    text = alice.error("PUT", f"networks/{network['id']}", {"network": {"id": "x"}}, 400, "HTTPBadRequest")
    assert text == "Cannot update read-only attribute id"
    alice.error("PUT", f"networks/{network['id']}", {"network": {"shared": True}}, 403, "PolicyNotAuthorized")


def test_only_operators_set_provider_attributes_and_segments_are_unique(alice: Caller, admin: Caller) -> None:
    wanted = {"provider:network_type": "vxlan", "provider:segmentation_id": 777_777}
    text = alice.error("POST", "networks", {"network": wanted}, 403, "PolicyNotAuthorized")
    assert "create_network:provider:" in text
    network = admin.ok("POST", "networks", {"network": wanted}, 201)["network"]
    admin.error("POST", "networks", {"network": wanted}, 409, "TunnelIdInUse")
    admin.drop("networks", network["id"])
    admin.drop("networks", admin.ok("POST", "networks", {"network": wanted}, 201)["network"]["id"])
    flat = {"provider:network_type": "flat", "provider:physical_network": "phys1"}
    made = admin.ok("POST", "networks", {"network": flat}, 201)["network"]
    assert (made["provider:segmentation_id"], made["mtu"]) == (None, 1500)
    admin.error("POST", "networks", {"network": flat}, 409, "FlatNetworkInUse")
    for bad in (
        {"provider:network_type": "token-ring"}, {"provider:network_type": "flat"}, {"provider:segmentation_id": 5},
        {"provider:network_type": "vxlan", "provider:segmentation_id": 1 << 24}, {"mtu": 9000},
        {"provider:network_type": "vlan", "provider:physical_network": "nowhere", "provider:segmentation_id": 5},
    ):  # fmt: skip
        admin.error("POST", "networks", {"network": bad | {"name": "bad"}}, 400, "InvalidInput")
    assert not admin.list("networks", name="bad")
    admin.drop("networks", made["id"])


def test_zones_that_are_not_there_are_refused(alice: Caller) -> None:
    for kind in ("network", "router"):
        body = {kind: {"availability_zone_hints": ["mars"]}}
        alice.error("POST", f"{kind}s", body, 404, "AvailabilityZoneNotFound")
        alice.ok("POST", f"{kind}s", {kind: {"availability_zone_hints": ["nova"]}}, 201)


def test_bulk_creation_makes_all_or_none(alice: Caller, admin: Caller) -> None:
    made = alice.ok("POST", "networks", {"networks": [{"name": f"bulk-{i}"} for i in range(3)]}, 201)["networks"]
    assert [network["name"] for network in made] == ["bulk-0", "bulk-1", "bulk-2"]
    admin.ok("PUT", f"quotas/{alice.project_id}", {"quota": {"network": 5}})
    alice.error("POST", "networks", {"networks": [{"name": f"more-{i}"} for i in range(3)]}, 409, "OverQuota")
    assert len(alice.list("networks")) == 3


def test_lists_filter_sort_page_and_choose_fields(alice: Caller) -> None:
    for name in ("c", "a", "b", "d"):
        alice.make("networks", name=name, admin_state_up=name != "d")
    assert {n["name"] for n in alice.list("networks", name=["a", "b"])} == {"a", "b"}
    assert [n["name"] for n in alice.list("networks", admin_state_up="False")] == ["d"]
    ordered = alice.list("networks", sort_key="name", sort_dir="desc")
    assert [n["name"] for n in ordered] == ["d", "c", "b", "a"]
    body = alice.ok("GET", "networks", params={"sort_key": "name", "limit": 2, "fields": ["id", "name"]})
    assert [n["name"] for n in body["networks"]] == ["a", "b"]
    assert set(body["networks"][0]) == {"id", "name"}
    links = {link["rel"]: link["href"] for link in body["networks_links"]}
    following = alice.cloud.http.get(links["next"], headers={"X-Auth-Token": alice.token or ""}, timeout=30).json()
    assert [n["name"] for n in following["networks"]] == ["c", "d"]
    back = {link["rel"]: link["href"] for link in following["networks_links"]}["previous"]
    before = alice.cloud.http.get(back, headers={"X-Auth-Token": alice.token or ""}, timeout=30).json()
    assert [n["name"] for n in before["networks"]] == ["a", "b"]


@pytest.mark.parametrize(
    "query", ["colour=red", "limit=x", "limit=-1", "sort_key=subnets", "sort_key=name&sort_dir=up"]
)
def test_bad_queries_are_refused(alice: Caller, query: str) -> None:
    alice.error("GET", f"networks?{query}", None, 400, "HTTPBadRequest")


def test_shared_and_external_networks_are_everybodys_to_see_and_not_to_change(
    alice: Caller, bob: Caller, admin: Caller
) -> None:
    private = alice.make("networks")
    shared = admin.make("networks", shared=True)
    external = admin.make("networks", router__external=True)
    seen = {network["id"] for network in bob.list("networks")}
    assert {shared["id"], external["id"]} <= seen
    assert private["id"] not in seen
    bob.error("GET", f"networks/{private['id']}", None, 404, "NetworkNotFound")
    bob.error("PUT", f"networks/{private['id']}", {"network": {"name": "x"}}, 404, "NetworkNotFound")
    bob.error("DELETE", f"networks/{private['id']}", None, 404, "NetworkNotFound")
    bob.error("DELETE", f"networks/{shared['id']}", None, 403, "PolicyNotAuthorized")
    bob.error("PUT", f"networks/{shared['id']}", {"network": {"name": "x"}}, 403, "PolicyNotAuthorized")
    admin.drop("networks", shared["id"])
    admin.drop("networks", external["id"])


def test_a_subnet_gets_a_gateway_and_a_pool_without_it(alice: Caller) -> None:
    network = alice.make("networks")
    subnet = alice.make("subnets", network_id=network["id"], ip_version=4, cidr="10.1.0.17/24")
    assert (subnet["cidr"], subnet["gateway_ip"]) == ("10.1.0.0/24", "10.1.0.1")
    assert subnet["allocation_pools"] == [{"start": "10.1.0.2", "end": "10.1.0.254"}]
    assert alice.get("networks", network["id"])["subnets"] == [subnet["id"]]
    middle = alice.make(
        "subnets", network_id=network["id"], ip_version=4, cidr="10.2.0.0/29", gateway_ip="10.2.0.3",
        dns_nameservers=["9.9.9.9"], host_routes=[{"destination": "10.9.0.0/16", "nexthop": "10.2.0.4"}],
    )  # fmt: skip
    assert middle["allocation_pools"] == [
        {"start": "10.2.0.1", "end": "10.2.0.2"}, {"start": "10.2.0.4", "end": "10.2.0.6"},
    ]  # fmt: skip
    none = alice.make("subnets", network_id=network["id"], ip_version=4, cidr="10.3.0.0/29", gateway_ip=None)
    assert (none["gateway_ip"], none["allocation_pools"][0]["start"]) == (None, "10.3.0.1")
    changed = alice.set("subnets", middle["id"], dns_nameservers=[], gateway_ip=None, name="x", enable_dhcp=False)
    assert (changed["dns_nameservers"], changed["gateway_ip"], changed["enable_dhcp"]) == ([], None, False)
    six = alice.make(
        "subnets", network_id=network["id"], ip_version=6, cidr="2001:db8::/64", ipv6_ra_mode="slaac",
        ipv6_address_mode="slaac",
    )  # fmt: skip
    assert (six["gateway_ip"], six["ipv6_ra_mode"]) == ("2001:db8::1", "slaac")


@pytest.mark.parametrize(
    ("values", "status", "kind"),
    [
        ({"cidr": "10.0.0.0/33"}, 400, "HTTPBadRequest"),
        ({"cidr": "rubbish"}, 400, "HTTPBadRequest"),
        ({"cidr": "10.0.0.128/25"}, 400, "InvalidInput"),
        ({"cidr": "0.0.0.0/0"}, 400, "InvalidInput"),
        ({"cidr": "224.0.0.0/8"}, 400, "InvalidInput"),
        ({"cidr": "2001:db8::/64"}, 400, "InvalidInput"),
        ({"cidr": "10.9.0.0/24", "ip_version": 5}, 400, "InvalidInput"),
        ({"cidr": "10.9.0.0/24", "gateway_ip": "10.9.0.255"}, 400, "InvalidInput"),
        ({"cidr": "10.9.0.0/24", "gateway_ip": "fe80::1"}, 400, "InvalidInput"),
        ({"cidr": "10.9.0.0/24", "ipv6_ra_mode": "slaac"}, 400, "InvalidInput"),
        ({"cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.9", "end": "10.9.0.3"}]}, 400,
         "InvalidAllocationPool"),
        ({"cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.9", "end": "10.9.1.3"}]}, 400,
         "OutOfBoundsAllocationPool"),
        ({"cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.1", "end": "10.9.0.3"}]}, 409,
         "GatewayConflictWithAllocationPools"),
        ({"cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.5", "end": "10.9.0.9"},
                                                       {"start": "10.9.0.9", "end": "10.9.0.12"}]}, 409,
         "OverlappingAllocationPools"),
        ({"cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.5"}]}, 400, "HTTPBadRequest"),
        ({"cidr": "10.9.0.0/24", "dns_nameservers": ["1.1.1.1\nx"]}, 400, "HTTPBadRequest"),
        ({"cidr": "10.9.0.0/24", "dns_nameservers": [f"1.1.1.{i}" for i in range(9)]}, 400, "InvalidInput"),
        ({"cidr": "10.9.0.0/24", "host_routes": [{"destination": "10.0.0.0/8", "nexthop": "x"}]}, 400,
         "HTTPBadRequest"),
        ({"cidr": "10.9.0.0/24", "host_routes": [{"destination": "2001:db8::/32", "nexthop": "10.0.0.1"}]}, 400,
         "InvalidInput"),
        ({}, 400, "BadRequest"),
    ],
)  # fmt: skip
def test_impossible_subnets_are_refused(alice: Caller, values: dict[str, object], status: int, kind: str) -> None:
    network, _ = alice.wired("10.0.0.0/24")
    body = {"subnet": {"network_id": network["id"], "ip_version": 4} | values}
    alice.error("POST", "subnets", body, status, kind)
    assert len(alice.list("subnets")) == 1


def test_projects_may_use_the_same_range_and_see_nothing_of_each_other(alice: Caller, bob: Caller) -> None:
    network, subnet = alice.wired("10.0.0.0/24")
    bob.wired("10.0.0.0/24")
    bob.error("GET", f"subnets/{subnet['id']}", None, 404, "SubnetNotFound")
    body = {"subnet": {"network_id": network["id"], "ip_version": 4, "cidr": "10.5.0.0/24"}}
    bob.error("POST", "subnets", body, 404, "NetworkNotFound")
    assert len(bob.list("subnets")) == 1


def test_a_used_subnet_or_network_stays(alice: Caller) -> None:
    network, subnet = alice.wired()
    port = alice.make("ports", network_id=network["id"])
    alice.error("DELETE", f"subnets/{subnet['id']}", None, 409, "SubnetInUse")
    assert port["id"] in alice.error("DELETE", f"networks/{network['id']}", None, 409, "NetworkInUse")
    alice.drop("ports", port["id"])
    alice.drop("subnets", subnet["id"])
    alice.drop("networks", network["id"])
    assert not alice.list("ports")


def test_tags_are_set_found_and_taken_off(alice: Caller) -> None:
    network = alice.make("networks")
    path = f"networks/{network['id']}/tags"
    assert alice.ok("PUT", path, {"tags": ["red", "blue"]}) == {"tags": ["blue", "red"]}
    alice.ok("PUT", f"{path}/green", status=201)
    alice.ok("GET", f"{path}/green", status=204)
    assert alice.get("networks", network["id"])["tags"] == ["blue", "green", "red"]
    assert [n["id"] for n in alice.list("networks", tags="red,blue")] == [network["id"]]
    assert alice.list("networks", **{"not-tags-any": "red"}) == []
    alice.drop("networks", f"{network['id']}/tags/red")
    alice.error("DELETE", f"{path}/red", None, 404, "TagNotFound")
    alice.ok("DELETE", path, status=204)
    assert alice.get("networks", network["id"])["tags"] == []
