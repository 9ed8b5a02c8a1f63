"""What operators see and steer: hosts, services, zones, aggregates, quotas, usage."""

from __future__ import annotations

import pytest
from actors import Actor, Shop


@pytest.fixture(scope="module")
def server(shop: Shop) -> str:
    server_id = shop.boot("seen", networks="none")
    shop.admin.until_status(server_id, "ACTIVE")
    return server_id


def test_hypervisors(shop: Shop, server: str) -> None:
    admin = shop.admin
    (brief,) = admin.get("/os-hypervisors", version="2.1")["hypervisors"]
    assert set(brief) == {"id", "hypervisor_hostname", "state", "status"}
    assert isinstance(brief["id"], int)
    (old,) = admin.get("/os-hypervisors/detail", version="2.27")["hypervisors"]
    assert isinstance(old["cpu_info"], str)
    assert old["running_vms"] == 1
    assert old["vcpus_used"] == 1
    assert old["memory_mb_used"] == 64
    assert old["hypervisor_type"] == "fake"
    (middle,) = admin.get("/os-hypervisors/detail?with_servers=true", version="2.53")["hypervisors"]
    assert middle["servers"] == [{"name": "seen", "uuid": server}]
    assert "-" in middle["id"]
    assert isinstance(middle["cpu_info"], dict)
    (new,) = admin.get("/os-hypervisors/detail", version="2.88")["hypervisors"]
    assert "vcpus" not in new
    assert "cpu_info" not in new
    assert new["uptime"].startswith("up ")
    assert admin.get(f"/os-hypervisors/{new['id']}")["hypervisor"]["id"] == new["id"]
    statistics = admin.get("/os-hypervisors/statistics", version="2.1")["hypervisor_statistics"]
    assert statistics["count"] == 1
    assert statistics["running_vms"] == 1
    assert admin.ask("GET", "/os-hypervisors/statistics", version="2.88").status_code == 404
    assert admin.get("/os-hypervisors/test/servers", version="2.1")["hypervisors"][0]["servers"]
    assert admin.ask("GET", "/os-hypervisors/nobody/search", version="2.1").status_code == 404
    assert shop.user.ask("GET", "/os-hypervisors").status_code == 403


def test_services_old_and_new_forms(shop: Shop) -> None:
    admin = shop.admin
    found = {s["binary"]: s for s in admin.get("/os-services")["services"]}
    assert set(found) == {"nova-compute", "nova-conductor", "nova-scheduler"}
    assert all(s["state"] == "up" and s["status"] == "enabled" for s in found.values())
    assert found["nova-compute"]["zone"] == "nova"
    assert found["nova-conductor"]["zone"] == "internal"
    path = f"/os-services/{found['nova-compute']['id']}"
    off = admin.ask("PUT", path, {"status": "disabled", "disabled_reason": "repair"}).json()["service"]
    assert off["status"] == "disabled"
    assert off["disabled_reason"] == "repair"
    refused = shop.boot("nowhere", networks="none")
    fault = admin.until_status(refused, "ERROR")["fault"]
    assert "repair" in fault["details"] or "ComputeServiceFilter" in fault["details"]
    shop.user.delete(refused)
    body = {"host": "test-host", "binary": "nova-compute"}
    assert admin.ask("PUT", "/os-services/enable", body, version="2.1").json() == {
        "service": body | {"status": "enabled"}
    }
    assert admin.ask("PUT", "/os-services/disable", body | {"host": "nobody"}, version="2.1").status_code == 404
    down = admin.ask("PUT", path, {"forced_down": True}).json()["service"]
    assert down["state"] == "down"
    assert down["forced_down"] is True
    assert admin.ask("PUT", path, {"forced_down": False}).json()["service"]["state"] == "up"
    assert admin.ask("PUT", path, {"status": "asleep"}).status_code == 400
    assert shop.user.ask("GET", "/os-services").status_code == 403


def test_zones_and_aggregates(shop: Shop) -> None:
    admin = shop.admin
    assert shop.user.get("/os-availability-zone")["availabilityZoneInfo"] == [
        {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None}
    ]
    assert shop.user.ask("GET", "/os-availability-zone/detail").status_code == 403
    body = {"aggregate": {"name": "rack", "availability_zone": "east"}}
    made = admin.ask("POST", "/os-aggregates", body).json()["aggregate"]
    path = f"/os-aggregates/{made['id']}"
    busy = admin.ask("POST", path + "/action", {"add_host": {"host": "test-host"}})
    assert busy.status_code == 409, "a host with servers does not change its zone"
    for server in shop.user.get("/servers")["servers"]:
        shop.user.delete(server["id"])
    joined = admin.ask("POST", path + "/action", {"add_host": {"host": "test-host"}}).json()["aggregate"]
    assert joined["hosts"] == ["test-host"]
    assert joined["metadata"] == {"availability_zone": "east"}
    assert admin.ask("POST", path + "/action", {"add_host": {"host": "nobody"}}).status_code == 404
    assert [z["zoneName"] for z in shop.user.get("/os-availability-zone")["availabilityZoneInfo"]] == ["east"]
    there = shop.boot("there", networks="none", availability_zone="east")
    shown = admin.until_status(there, "ACTIVE")
    assert shown["OS-EXT-AZ:availability_zone"] == "east"
    assert shown["pinned_availability_zone"] == "east"
    shop.user.delete(there)
    set_to = {"set_metadata": {"metadata": {"ssd": "true"}}}
    assert admin.ask("POST", path + "/action", set_to).json()["aggregate"]["metadata"]["ssd"] == "true"
    assert admin.ask("DELETE", path).status_code == 400
    assert admin.ask("POST", path + "/action", {"remove_host": {"host": "test-host"}}).status_code == 200
    assert admin.ask("DELETE", path).status_code == 200
    assert admin.ask("GET", path).status_code == 404


def test_server_groups(shop: Shop) -> None:
    user = shop.user
    body = {"server_group": {"name": "old", "policies": ["affinity"]}}
    old = user.ask("POST", "/os-server-groups", body, version="2.1")
    assert old.json()["server_group"]["policies"] == ["affinity"]
    assert "project_id" not in old.json()["server_group"]
    body = {"server_group": {"name": "apart", "policy": "anti-affinity"}}
    group = user.ask("POST", "/os-server-groups", body).json()["server_group"]
    assert group["policy"] == "anti-affinity"
    assert group["project_id"] == user.project_id
    first = user.boot(
        "first", flavorRef=shop.flavor, imageRef=shop.image, networks="none", hints={"group": group["id"]}
    ).json()["server"]["id"]
    assert shop.admin.until_status(first, "ACTIVE")["server_groups"] == [group["id"]]
    second = user.boot(
        "second", flavorRef=shop.flavor, imageRef=shop.image, networks="none", hints={"group": group["id"]}
    ).json()["server"]["id"]
    assert "anti affinity turned down 1" in shop.admin.until_status(second, "ERROR")["fault"]["details"]
    assert set(user.get(f"/os-server-groups/{group['id']}")["server_group"]["members"]) == {first, second}
    unknown = user.boot("x", flavorRef=shop.flavor, imageRef=shop.image, networks="none", hints={"group": "x" * 36})
    assert unknown.status_code == 400
    for server in (first, second):
        user.delete(server)
    stranger = Actor(shop.cloud, shop.cloud.new_project("group-stranger")[1])
    assert stranger.ask("GET", f"/os-server-groups/{group['id']}").status_code == 404
    assert stranger.ask("DELETE", f"/os-server-groups/{group['id']}").status_code == 404
    for item in (group["id"], old.json()["server_group"]["id"]):
        assert user.ask("DELETE", f"/os-server-groups/{item}").status_code == 204
    assert user.ask("POST", "/os-server-groups", {"server_group": {"name": "x", "policy": "odd"}}).status_code == 400


def test_quotas_limits_and_usage(shop: Shop, server: str) -> None:
    user, admin, project = shop.user, shop.admin, shop.user.project_id
    old = user.get(f"/os-quota-sets/{project}", version="2.1")["quota_set"]
    assert old["id"] == project
    assert old["instances"] == 10
    assert "floating_ips" in old
    assert "injected_files" in old
    new = user.get(f"/os-quota-sets/{project}")["quota_set"]
    assert "floating_ips" not in new
    assert "injected_files" not in new
    assert user.ask("GET", f"/os-quota-sets/{'f' * 32}").status_code == 403
    assert user.ask("PUT", f"/os-quota-sets/{project}", {"quota_set": {"cores": 99}}).status_code == 403
    raised = admin.ask("PUT", f"/os-quota-sets/{project}", {"quota_set": {"cores": 99}})
    assert raised.json()["quota_set"]["cores"] == 99
    assert user.get("/limits")["limits"]["absolute"]["maxTotalCores"] == 99
    assert admin.ask("PUT", f"/os-quota-sets/{project}", {"quota_set": {"cores": -2}}).status_code == 400
    assert admin.ask("PUT", f"/os-quota-sets/{project}", {"quota_set": {"nonsense": 1}}).status_code == 400
    assert admin.ask("DELETE", f"/os-quota-sets/{project}").status_code == 202
    assert user.get(f"/os-quota-sets/{project}/defaults")["quota_set"]["cores"] == 20
    assert user.get(f"/os-quota-sets/{project}")["quota_set"]["cores"] == 20
    usage = user.get(f"/os-simple-tenant-usage/{project}")["tenant_usage"]
    assert usage["total_hours"] > 0
    assert {u["state"] for u in usage["server_usages"]} >= {"terminated"}
    everyone = admin.get("/os-simple-tenant-usage")["tenant_usages"]
    assert project in [item["tenant_id"] for item in everyone]
    assert user.ask("GET", "/os-simple-tenant-usage").status_code == 403
    assert "os-keypairs" in [e["alias"] for e in user.get("/extensions")["extensions"]]


def test_every_route_asks_who_is_there(shop: Shop) -> None:
    """No route but version discovery answers without a token."""
    from pileus.kernel.http import PUBLIC
    from pileus.services.compute.api import ROUTES

    checked = 0
    for route in ROUTES:
        if route.policy == PUBLIC:
            continue
        path = route.path
        for name in route.variables:
            path = path.replace("{" + name + "}", "x")
        body = {route.action: None} if route.action else {}
        headers = {"OpenStack-API-Version": f"compute {route.since or route.until or '2.1'}"}
        answer = shop.cloud.request(route.method, "/compute" + path, json=body, headers=headers)
        assert answer.status_code == 401, (route.method, path, answer.status_code)
        checked += 1
    assert checked > 90


def test_every_server_route_hides_the_servers_of_others(shop: Shop) -> None:
    """No route tells a stranger that the server exists, whatever they send."""
    from pileus.services.compute.api import ROUTES

    server = shop.boot("hidden")
    shop.admin.until_status(server, "ACTIVE")
    stranger = Actor(shop.cloud, shop.cloud.new_project("outsider")[1])
    bodies = {
        "reboot": {"type": "HARD"}, "os-resetState": {"state": "error"}, "addSecurityGroup": {"name": "default"},
        "removeSecurityGroup": {"name": "default"},
    }
    others = {
        "/metadata": {"metadata": {"a": "b"}}, "/metadata/{key}": {"meta": {"x": "b"}}, "/tags": {"tags": ["a"]},
        "": {"server": {"name": "stolen"}},
    }
    checked = 0
    for route in ROUTES:
        if "{server_id}" not in route.path:
            continue
        path = route.path.removeprefix("/v2.1").replace("{server_id}", server)
        for name in route.variables:
            path = path.replace("{" + name + "}", "x")
        body = others.get(route.path.removeprefix("/v2.1/servers/{server_id}"))
        if route.action:
            body = {route.action: bodies.get(route.action)}
        answer = stranger.ask(route.method, path, body)
        assert answer.status_code in (404, 403), (route.method, route.path, route.action, answer.text)
        assert answer.status_code == 404 or route.action == "os-resetState"
        checked += 1
    assert checked > 25
    shown = shop.user.server(server)
    assert shown["name"] == "hidden"
    assert shown["status"] == "ACTIVE"
    assert shown["tags"] == []
    shop.user.delete(server)
