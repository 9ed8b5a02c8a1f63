"""Who may call what: every route without a token, by another project, and as a reader (security.md, row 30)."""

from __future__ import annotations

from typing import Any

import pytest

from pileus.kernel.http.routes import PUBLIC, Route
from pileus.services.network.service import SERVICE

from .client import PLURALS, Caller, eventually

SERVICES = ("identity", "network")
PUBLIC_PATHS = {"/", "/v2.0"}
FOR_ANYBODY = {
    "/v2.0/extensions", "/v2.0/extensions/{alias}", "/v2.0/availability_zones", "/v2.0/quotas/tenant",
    "/v2.0/quotas/project",
}  # fmt: skip
WRITES = ("POST", "PUT", "DELETE")


@pytest.fixture
def owned(alice: Caller) -> dict[str, str]:
    """One of everything, of alice's project, by the name of the path's variable."""
    network, subnet = alice.wired()
    port = alice.make("ports", network_id=network["id"])
    router = alice.make("routers")
    group = alice.make("security-groups", name="g")
    return {
        "network_id": network["id"], "subnet_id": subnet["id"], "port_id": port["id"], "router_id": router["id"],
        "security_group_id": group["id"], "security_group_rule_id": group["security_group_rules"][0]["id"],
        "floatingip_id": "00000000-0000-4000-8000-000000000000", "project_id": alice.project_id, "tag": "red",
        "agent_id": "00000000-0000-4000-8000-000000000000", "alias": "router",
        "subnetpool_id": alice.make("subnetpools", name="p", prefixes=["10.0.0.0/8"])["id"],
    }  # fmt: skip


def _path(route: Route, owned: dict[str, str]) -> str:
    kinds = {
        "networks": "network_id", "subnets": "subnet_id", "ports": "port_id", "routers": "router_id",
        "subnetpools": "subnetpool_id", "floatingips": "floatingip_id", "security-groups": "security_group_id",
    }  # fmt: skip
    values = dict(owned)
    if "{resource_id}" in route.path:
        values["resource_id"] = owned[kinds[route.path.split("/")[2]]]
    return route.path.format(**values).removeprefix("/v2.0/")


def _body(route: Route, owned: dict[str, str]) -> Any:
    """A body that would do something if the caller were allowed to."""
    last = route.path.rsplit("/", 1)[-1]
    collection = route.path.split("/")[2]
    singular = PLURALS.get(collection, collection[:-1])
    if last == "tags":
        return {"tags": ["x"]}
    if last.endswith("router_interface"):
        return {"subnet_id": owned["subnet_id"]}
    if last.endswith("extraroutes"):
        return {"router": {"routes": []}}
    if route.method == "PUT":
        return {singular: {"port": 5} if singular == "quota" else {"description": "mine now"}}
    parents = {
        "subnetpools": {"name": "x", "prefixes": []},
        "subnets": {"network_id": owned["network_id"], "ip_version": 4, "cidr": "10.99.0.0/24"},
        "ports": {"network_id": owned["network_id"]},
        "security-group-rules": {"security_group_id": owned["security_group_id"], "direction": "ingress"},
        "floatingips": {"floating_network_id": owned["network_id"]},
    }
    return {singular: parents.get(collection, {"name": "x"})} if route.method == "POST" else None


def test_only_the_version_documents_are_public() -> None:
    assert {route.path for route in SERVICE.routes if route.policy == PUBLIC} == PUBLIC_PATHS


def test_every_route_wants_a_token(cloud: Any, owned: dict[str, str]) -> None:
    nobody, liar = Caller(cloud, None), Caller(cloud, "no-such-token")
    for route in SERVICE.routes:
        if route.policy == PUBLIC:
            continue
        for caller in (nobody, liar):
            answer = caller.send(
                route.method, _path(route, owned), _body(route, owned),
                headers={"X-Roles": "admin", "X-Is-Admin-Project": "True", "X-Project-Id": owned["project_id"]},
            )  # fmt: skip
            assert answer.status_code == 401, (route.method, route.path, answer.text)


def test_another_project_finds_and_changes_nothing(alice: Caller, bob: Caller, owned: dict[str, str]) -> None:
    for route in SERVICE.routes:
        if route.policy == PUBLIC or route.path in FOR_ANYBODY:
            continue
        answer = bob.send(route.method, _path(route, owned), _body(route, owned))
        if "{" in route.path:
            assert answer.status_code in (403, 404), (route.method, route.path, answer.status_code, answer.text)
        elif route.method == "GET" and answer.status_code == 200:
            assert owned["network_id"] not in answer.text, route.path
            assert alice.project_id not in answer.text, route.path
        elif route.path not in ("/v2.0/networks", "/v2.0/routers", "/v2.0/security-groups"):
            refusals = (400,) if "subnetpools" in route.path else (403, 404)
            assert answer.status_code in refusals, (route.method, route.path, answer.status_code, answer.text)


def test_a_reader_changes_nothing(reader: Caller, admin: Caller) -> None:
    network = admin.make("networks", project_id=reader.project_id)
    wanted = {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/24", "project_id": reader.project_id}
    subnet = admin.make("subnets", **wanted)
    port = admin.make("ports", network_id=network["id"], project_id=reader.project_id)
    router = admin.make("routers", project_id=reader.project_id)
    group = admin.make("security-groups", name="g", project_id=reader.project_id)
    pool = admin.make("subnetpools", name="p", prefixes=["10.0.0.0/8"], project_id=reader.project_id)
    owned = {
        "network_id": network["id"], "subnet_id": subnet["id"], "port_id": port["id"], "router_id": router["id"],
        "security_group_id": group["id"], "security_group_rule_id": group["security_group_rules"][0]["id"],
        "floatingip_id": "00000000-0000-4000-8000-000000000000", "project_id": reader.project_id, "tag": "red",
        "agent_id": "00000000-0000-4000-8000-000000000000", "alias": "router", "subnetpool_id": pool["id"],
    }  # fmt: skip
    for kind, key in (("networks", "network_id"), ("subnets", "subnet_id"), ("ports", "port_id"),
                      ("routers", "router_id"), ("security-groups", "security_group_id")):  # fmt: skip
        assert reader.get(kind, owned[key])["id"] == owned[key]
    for route in SERVICE.routes:
        if route.method in WRITES:
            answer = reader.send(route.method, _path(route, owned), _body(route, owned))
            assert answer.status_code in (403, 404), (route.method, route.path, answer.status_code, answer.text)


def test_unknown_paths_and_methods(alice: Caller, cloud: Any) -> None:
    alice.error("GET", "no-such-thing", None, 404, "HTTPNotFound")
    alice.error("PATCH", "networks", {}, 405, "HTTPMethodNotAllowed")
    assert Caller(cloud, None).send("GET", "no-such-thing").status_code == 401
    huge = alice.send("POST", "routers", data=b'{"router": {"name": "' + b"x" * 200_000 + b'"}}')
    assert huge.status_code == 413


def test_versions_say_where_to_go_to_anybody(cloud: Any) -> None:
    document = cloud.request("GET", "/network/").json()["versions"][0]
    assert (document["id"], document["status"]) == ("v2.0", "CURRENT")
    assert document["links"][0]["href"] == f"{cloud.url}/network/v2.0/"
    assert cloud.request("GET", "/network/v2.0").json()["resources"][0]["collection"] == "networks"


def test_quotas_are_shown_changed_counted_and_reset(alice: Caller, bob: Caller, admin: Caller) -> None:
    path = f"quotas/{alice.project_id}"
    assert alice.ok("GET", path)["quota"]["port"] == 500
    bob.error("GET", path, None, 403, "PolicyNotAuthorized")
    alice.error("PUT", path, {"quota": {"port": 9}}, 403, "PolicyNotAuthorized")
    assert admin.ok("PUT", path, {"quota": {"port": 9, "network": 1}})["quota"]["port"] == 9
    assert [q["port"] for q in admin.list("quotas") if q["project_id"] == alice.project_id] == [9]
    alice.make("networks")
    alice.error("POST", "networks", {"network": {}}, 409, "OverQuota")
    details = alice.ok("GET", f"{path}/details.json")["quota"]["network"]
    assert details == {"limit": 1, "used": 1, "reserved": 0}
    assert alice.ok("GET", f"{path}/default")["quota"]["port"] == 500
    for bad in ({"port": -2}, {"port": "x"}, {"port": 1 << 40}, {"colour": 1}, {"port": None}):
        admin.error("PUT", path, {"quota": bad}, 400, "HTTPBadRequest")
    admin.ok("DELETE", path, status=204)
    assert alice.ok("GET", path)["quota"]["port"] == 500
    admin.error("DELETE", path, None, 404, "TenantQuotaNotFound")


def test_agents_are_the_operators_to_see_and_switch(alice: Caller, admin: Caller) -> None:
    found = eventually(lambda: len(admin.list("agents")) == 3 and admin.list("agents"))
    assert {(agent["agent_type"], agent["host"], agent["alive"]) for agent in found} == {
        ("Linux bridge agent", "test-host", True), ("L3 agent", "test-host", True), ("DHCP agent", "test-host", True),
    }  # fmt: skip
    assert [agent["agent_type"] for agent in admin.list("agents", binary="pileus-l3-agent")] == ["L3 agent"]
    assert admin.list("agents", alive="False") == []
    agent = found[0]
    changed = admin.ok("PUT", f"agents/{agent['id']}", {"agent": {"admin_state_up": False}})["agent"]
    assert changed["admin_state_up"] is False
    admin.ok("PUT", f"agents/{agent['id']}", {"agent": {"admin_state_up": True}})
    admin.error("PUT", f"agents/{agent['id']}", {"agent": {"host": "x"}}, 400, "HTTPBadRequest")
    alice.error("GET", "agents", None, 403, "PolicyNotAuthorized")
    admin.error("GET", "agents/nobody", None, 404, "AgentNotFound")


def test_extensions_zones_and_address_counts(alice: Caller, admin: Caller) -> None:
    aliases = {extension["alias"] for extension in alice.list("extensions")}
    assert {"router", "external-net", "security-group", "binding", "provider", "extraroute", "quotas"} <= aliases
    assert alice.ok("GET", "extensions/router")["extension"]["alias"] == "router"
    alice.error("GET", "extensions/nothing", None, 404, "ExtensionsNotFound")
    eventually(lambda: {z["resource"] for z in alice.list("availability_zones")} == {"network", "router"})
    network, subnet = alice.wired("10.0.0.0/24")
    alice.make("ports", network_id=network["id"])
    (count,) = admin.ok("GET", f"network-ip-availabilities?network_id={network['id']}")["network_ip_availabilities"]
    assert count["total_ips"] == 254
    assert count["used_ips"] >= 1
    assert count["subnet_ip_availability"][0]["subnet_id"] == subnet["id"]
    single = admin.ok("GET", f"network-ip-availabilities/{network['id']}")["network_ip_availability"]
    assert single["network_id"] == network["id"]
