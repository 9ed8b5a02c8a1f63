"""Servers from birth to death, with the fake driver."""

from __future__ import annotations

import base64
import time

import pytest
from actors import Actor, Shop, make_image, make_network
from sqlalchemy import event

from cloud import Cloud


@pytest.fixture(scope="module")
def server(shop: Shop) -> str:
    """One that tests only look at."""
    server_id = shop.boot("looked-at", metadata={"purpose": "tests"}, tags=["blue", "green"], description="to look at")
    shop.admin.until_status(server_id, "ACTIVE")
    return server_id


def test_a_server_becomes_active_with_an_address_and_a_host(shop: Shop, server: str) -> None:
    shown = shop.admin.server(server)
    assert shown["OS-EXT-STS:vm_state"] == "active"
    assert shown["OS-EXT-STS:power_state"] == 1
    (address,) = shown["addresses"]["shop-net"]
    assert address["addr"].startswith("10.20.0.")
    assert address["OS-EXT-IPS:type"] == "fixed"
    assert shown["OS-EXT-SRV-ATTR:host"] == "test-host"
    assert shown["OS-EXT-AZ:availability_zone"] == "nova"
    assert shown["security_groups"] == [{"name": "default"}]
    assert shown["tags"] == ["blue", "green"]
    assert shown["flavor"]["original_name"] == "shop.tiny"
    assert shown["image"]["id"] == shop.image
    ports = shop.user.network("GET", f"/ports?device_id={server}").json()["ports"]
    assert [(p["status"], p["device_owner"], p["mac_address"]) for p in ports] == [
        ("ACTIVE", "compute:nova", address["OS-EXT-IPS-MAC:mac_addr"])
    ]
    claim = shop.cloud.request("GET", f"/placement/allocations/{server}", token=shop.admin.token).json()
    (amounts,) = [item["resources"] for item in claim["allocations"].values()]
    assert amounts == {"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1}


def test_what_others_see(shop: Shop, server: str) -> None:
    mine = shop.user.server(server)
    assert not any(key.startswith("OS-EXT-SRV-ATTR:") for key in mine if key != "OS-EXT-SRV-ATTR:hostname")
    stranger = Actor(shop.cloud, shop.cloud.new_project("stranger")[1])
    answer = stranger.ask("GET", f"/servers/{server}")
    assert answer.status_code == 404
    assert answer.json() == {"itemNotFound": {"code": 404, "message": f"Instance {server} could not be found."}}
    assert stranger.get("/servers")["servers"] == []


def test_fields_follow_the_microversion(shop: Shop, server: str) -> None:
    oldest = shop.user.server(server, version="2.1")
    assert set(oldest) == {
        "id", "name", "status", "tenant_id", "user_id", "metadata", "hostId", "image", "flavor", "created", "updated",
        "addresses", "accessIPv4", "accessIPv6", "links", "OS-DCF:diskConfig", "progress", "config_drive", "key_name",
        "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at", "OS-EXT-AZ:availability_zone", "OS-EXT-STS:task_state",
        "OS-EXT-STS:vm_state", "OS-EXT-STS:power_state", "os-extended-volumes:volumes_attached", "security_groups",
    }
    assert set(oldest["flavor"]) == {"id", "links"}
    for version, field in (
        ("2.9", "locked"), ("2.19", "description"), ("2.26", "tags"), ("2.63", "trusted_image_certificates"),
        ("2.71", "server_groups"), ("2.73", "locked_reason"), ("2.90", "OS-EXT-SRV-ATTR:hostname"),
        ("2.96", "pinned_availability_zone"), ("2.100", "scheduler_hints"),
    ):
        before = f"2.{int(version.split('.')[1]) - 1}"
        assert field in shop.user.server(server, version=version), field
        assert field not in shop.user.server(server, version=before), field
    assert "properties" in shop.user.server(server, version="2.98")["image"]
    assert set(shop.user.server(server, version="2.47")["flavor"]) >= {"vcpus", "ram", "disk", "original_name"}
    for header in ({"OpenStack-API-Version": "compute 2.26"}, {"X-OpenStack-Nova-API-Version": "2.26"}):
        answer = shop.cloud.request("GET", "/compute/v2.1/servers", token=shop.user.token, headers=header)
        assert answer.headers["OpenStack-API-Version"] == "compute 2.26"
        assert answer.headers["X-OpenStack-Nova-API-Version"] == "2.26"


def test_stop_start_reboot_and_console(shop: Shop) -> None:
    user, admin = shop.user, shop.admin
    server = shop.boot("powered")
    admin.until_status(server, "ACTIVE")
    assert user.act(server, "os-start").status_code == 409
    assert user.act(server, "os-stop").status_code == 202
    assert admin.until_status(server, "SHUTOFF")["OS-EXT-STS:power_state"] == 4
    refused = user.act(server, "os-stop")
    assert refused.status_code == 409
    assert refused.json()["conflictingRequest"]["message"] == (
        f"Cannot 'stop' instance {server} while it is in vm_state stopped"
    )
    assert user.act(server, "reboot", {"type": "SOFT"}).status_code == 409
    assert user.act(server, "os-start").status_code == 202
    admin.until_status(server, "ACTIVE")
    for kind in ("SOFT", "HARD"):
        assert user.act(server, "reboot", {"type": kind}).status_code == 202
        admin.until_status(server, "ACTIVE")
    output = user.act(server, "os-getConsoleOutput", {"length": 10}).json()["output"]
    assert "fake guest running" in output
    assert user.act(server, "reboot", {"type": "gently"}).status_code == 400
    assert user.act(server, "os-nonsense").status_code == 400
    done = [(a["action"], a["message"]) for a in user.get(f"/servers/{server}/os-instance-actions")["instanceActions"]]
    assert done == [("reboot", None), ("reboot", None), ("start", None), ("stop", None), ("create", None)]
    newest = user.get(f"/servers/{server}/os-instance-actions")["instanceActions"][-1]
    assert newest["user_id"]
    assert newest["project_id"] == user.project_id
    steps = user.get(f"/servers/{server}/os-instance-actions/{newest['request_id']}")["instanceAction"]["events"]
    assert [(s["event"], s["result"]) for s in steps] == [
        (f"compute_{name}", "Success")
        for name in ("choose_host", "allocate_ports", "prepare", "wire", "_do_build_and_run_instance")
    ]
    user.delete(server)


def test_nothing_is_left_of_a_deleted_server(shop: Shop) -> None:
    server = shop.boot("short-lived")
    shop.admin.until_status(server, "ACTIVE")
    shop.user.delete(server)
    assert shop.user.network("GET", f"/ports?device_id={server}").json()["ports"] == []
    claim = shop.cloud.request("GET", f"/placement/allocations/{server}", token=shop.admin.token).json()
    assert claim["allocations"] == {}
    assert not list((shop.cloud.state_dir / "compute").glob(f"**/{server}/*"))
    deleted = shop.admin.get("/servers/detail?deleted=True&all_tenants=1")["servers"]
    assert server in [s["id"] for s in deleted if s["status"] == "DELETED"]
    assert shop.user.ask("DELETE", f"/servers/{server}").status_code == 404
    assert shop.user.get(f"/servers/{server}/os-instance-actions")["instanceActions"][0]["action"] == "delete"


def test_delete_while_it_is_being_built(shop: Shop) -> None:
    for _ in range(5):
        server = shop.boot("unwanted")
        assert shop.user.ask("DELETE", f"/servers/{server}").status_code == 204
        assert shop.user.ask("DELETE", f"/servers/{server}").status_code in (204, 404)
        shop.user.until_gone(server)
        assert shop.user.network("GET", f"/ports?device_id={server}").json()["ports"] == []
        claim = shop.cloud.request("GET", f"/placement/allocations/{server}", token=shop.admin.token).json()
        assert claim["allocations"] == {}


def test_many_at_once_with_one_request(shop: Shop) -> None:
    answer = shop.try_boot("many", min_count=3, max_count=3, return_reservation_id=True)
    reservation = answer.json()["reservation_id"]
    found = shop.user.get(f"/servers/detail?reservation_id={reservation}&sort_key=created_at&sort_dir=asc")["servers"]
    assert [s["name"] for s in found] == ["many-1", "many-2", "many-3"]
    for server in found:
        shop.admin.until_status(server["id"], "ACTIVE")
    assert len({shop.user.server(s["id"])["addresses"]["shop-net"][0]["addr"] for s in found}) == 3
    for server in found:
        shop.user.delete(server["id"])


def test_ports_and_addresses_of_ones_own(shop: Shop) -> None:
    user = shop.user
    port = user.network("POST", "/ports", {"port": {"network_id": shop.network}}).json()["port"]
    other = make_network(user, "shop-second", "10.21.0.0/24")
    server = shop.boot("plugged", networks=[{"port": port["id"]}, {"uuid": other, "fixed_ip": "10.21.0.77"}])
    shown = shop.admin.until_status(server, "ACTIVE")
    assert shown["addresses"]["shop-net"][0]["addr"] == port["fixed_ips"][0]["ip_address"]
    assert shown["addresses"]["shop-second"][0]["addr"] == "10.21.0.77"
    assert user.get(f"/servers/{server}/ips/shop-second") == {"shop-second": [{"version": 4, "addr": "10.21.0.77"}]}
    interfaces = user.get(f"/servers/{server}/os-interface")["interfaceAttachments"]
    assert [i["net_id"] for i in interfaces] == [shop.network, other]
    in_use = shop.try_boot("again", networks=[{"port": port["id"]}])
    assert in_use.status_code == 409
    assert "still in use" in in_use.json()["conflictingRequest"]["message"]
    user.delete(server)
    kept = user.network("GET", f"/ports/{port['id']}").json()["port"]
    assert kept["device_id"] == ""
    assert kept["status"] == "DOWN"
    user.network("DELETE", f"/ports/{port['id']}")


def test_auto_and_none(shop: Shop) -> None:
    ambiguous = shop.try_boot("auto", networks="auto")
    assert ambiguous.status_code == 409
    alone = Actor(shop.cloud, shop.cloud.new_project("alone")[1])
    network = make_network(alone, "only-one", "10.22.0.0/24")
    answer = shop.try_boot("auto", alone, networks="auto")
    server = answer.json()["server"]["id"]
    ports = alone.network("GET", "/ports").json()["ports"]
    deadline = time.monotonic() + 20
    while alone.server(server)["status"] != "ACTIVE":
        assert time.monotonic() < deadline
    ports = alone.network("GET", f"/ports?device_id={server}").json()["ports"]
    assert [port["network_id"] for port in ports] == [network]
    alone.delete(server)
    bare = shop.boot("bare", networks="none")
    assert shop.admin.until_status(bare, "ACTIVE")["addresses"] == {}
    shop.user.delete(bare)
    assert shop.try_boot("no-networks", version="2.37", networks=None).status_code == 400


def test_keys_user_data_and_config_drive_are_kept(shop: Shop) -> None:
    from test_keypairs import ssh_key

    shop.user.ask("POST", "/os-keypairs", {"keypair": {"name": "key", "public_key": ssh_key(), "type": "ssh"}})
    text = base64.b64encode(b"#!/bin/sh\n").decode()
    server = shop.boot("keyed", key_name="key", user_data=text, config_drive=True, hostname="my-host")
    shown = shop.admin.until_status(server, "ACTIVE")
    assert shown["key_name"] == "key"
    assert shown["config_drive"] == "True"
    assert shown["OS-EXT-SRV-ATTR:user_data"] == text
    assert shown["OS-EXT-SRV-ATTR:hostname"] == "my-host"
    shop.user.delete(server)


def test_update_answers_with_the_server(shop: Shop, server: str) -> None:
    body = {"server": {"name": "renamed", "accessIPv4": "192.0.2.1"}}
    old = shop.user.ask("PUT", f"/servers/{server}", body, version="2.1").json()["server"]
    assert old["name"] == "renamed"
    assert old["accessIPv4"] == "192.0.2.1"
    assert "OS-EXT-STS:vm_state" not in old
    assert "OS-EXT-IPS:type" not in old["addresses"]["shop-net"][0]
    new = shop.user.ask("PUT", f"/servers/{server}", {"server": {"description": None}}, version="2.75").json()["server"]
    assert new["description"] is None
    assert new["OS-EXT-STS:vm_state"] == "active"
    shop.user.ask("PUT", f"/servers/{server}", {"server": {"name": "looked-at", "description": "to look at"}})
    assert shop.user.ask("PUT", f"/servers/{server}", {"server": {"accessIPv4": "::1"}}).status_code == 400
    assert shop.user.ask("PUT", f"/servers/{server}", {"server": {"status": "x"}}).status_code == 400


def test_metadata(shop: Shop, server: str) -> None:
    user, path = shop.user, f"/servers/{server}/metadata"
    assert user.get(path) == {"metadata": {"purpose": "tests"}}
    assert user.ask("POST", path, {"metadata": {"a": "1"}}).json() == {"metadata": {"purpose": "tests", "a": "1"}}
    assert user.ask("PUT", path + "/a", {"meta": {"a": "2"}}).json() == {"meta": {"a": "2"}}
    assert user.get(path + "/a") == {"meta": {"a": "2"}}
    assert user.ask("PUT", path + "/a", {"meta": {"b": "2"}}).status_code == 400
    assert user.ask("DELETE", path + "/a").status_code == 204
    assert user.ask("DELETE", path + "/a").status_code == 404
    assert user.ask("PUT", path, {"metadata": {"purpose": "tests"}}).json() == {"metadata": {"purpose": "tests"}}
    many = {"metadata": {f"k{n}": "v" for n in range(129)}}
    over = user.ask("PUT", path, many)
    assert over.status_code == 403
    assert over.json()["forbidden"]["message"] == "Maximum number of metadata items exceeds 128"
    assert user.ask("PUT", path, {"metadata": {"bad/key": "v"}}).status_code == 400
    assert user.ask("PUT", path, {"metadata": {"k": "v" * 256}}).status_code == 400


def test_tags(shop: Shop, server: str) -> None:
    user, path = shop.user, f"/servers/{server}/tags"
    assert user.get(path) == {"tags": ["blue", "green"]}
    assert user.ask("PUT", path + "/red").status_code == 201
    assert user.ask("PUT", path + "/red").status_code == 204
    assert user.ask("GET", path + "/red").status_code == 204
    assert user.ask("DELETE", path + "/red").status_code == 204
    assert user.ask("GET", path + "/red").status_code == 404
    assert user.ask("GET", path, version="2.25").status_code == 404
    assert user.ask("PUT", path, {"tags": ["blue", "green"]}).json() == {"tags": ["blue", "green"]}
    assert user.ask("PUT", path, {"tags": [f"t{n}" for n in range(51)]}).status_code == 400


def test_lock(shop: Shop, server: str) -> None:
    user = shop.user
    assert user.act(server, "lock", {"locked_reason": "busy"}).status_code == 202
    assert user.server(server)["locked"] is True
    assert user.server(server)["locked_reason"] == "busy"
    refused = user.act(server, "os-stop")
    assert refused.status_code == 409
    assert refused.json()["conflictingRequest"]["message"] == f"Instance {server} is locked"
    assert user.ask("DELETE", f"/servers/{server}").status_code == 409
    assert user.act(server, "unlock").status_code == 202
    assert shop.admin.act(server, "lock").status_code == 202
    assert user.act(server, "unlock").status_code == 409
    assert shop.admin.act(server, "unlock").status_code == 202


def test_security_groups_of_a_running_server(shop: Shop, server: str) -> None:
    user = shop.user
    made = user.network("POST", "/security-groups", {"security_group": {"name": "extra"}}).json()["security_group"]
    assert user.act(server, "addSecurityGroup", {"name": "extra"}).status_code == 202
    names = {group["name"] for group in user.get(f"/servers/{server}/os-security-groups")["security_groups"]}
    assert names == {"default", "extra"}
    assert {g["name"] for g in user.server(server)["security_groups"]} == {"default", "extra"}
    assert user.act(server, "removeSecurityGroup", {"name": "extra"}).status_code == 202
    assert user.act(server, "removeSecurityGroup", {"name": "extra"}).status_code == 404
    assert user.act(server, "addSecurityGroup", {"name": "missing"}).status_code == 404
    boot = shop.boot("grouped", security_groups=[{"name": "extra"}])
    shown = shop.admin.until_status(boot, "ACTIVE")
    assert shown["security_groups"] == [{"name": "extra"}]
    user.delete(boot)
    user.network("DELETE", f"/security-groups/{made['id']}")


def test_filters_of_lists(shop: Shop, server: str) -> None:
    user = shop.user
    address = user.server(server)["addresses"]["shop-net"][0]["addr"]

    def ids(query: str, version: str = "2.96") -> list[str]:
        return [s["id"] for s in user.get(f"/servers?{query}", version=version)["servers"]]

    for query in (
        "name=looked", "name=^looked-at$", "status=ACTIVE", f"image={shop.image}", f"flavor={shop.flavor}",
        f"ip={address}", f"ip=^{address}$", "tags=blue", "tags=blue,green", "tags-any=blue,pink", "not-tags=pink",
        "metadata={'purpose':'tests'}", "changes-since=2020-01-01T00:00:00Z", "vm_state=active",
        "availability_zone=nova",
    ):
        assert server in ids(query), query
    for query in (
        "name=nothing", "status=SHUTOFF", "image=none", "ip=192.0.2.9", "tags=pink", "not-tags=blue,green",
        "not-tags-any=blue", "metadata={'purpose':'other'}", "changes-before=2020-01-01T00:00:00Z", "vm_state=stopped",
    ):
        assert server not in ids(query), query
    assert user.ask("GET", "/servers?status=nonsense").status_code == 400
    assert ids("status=nonsense", "2.37") == []
    assert user.ask("GET", "/servers?name=*[", version="2.1").status_code == 400
    assert user.ask("GET", "/servers?unknown=1").status_code == 400
    assert user.ask("GET", "/servers?unknown=1", version="2.74").status_code == 200
    assert user.ask("GET", f"/servers/{server}?unknown=1", version="2.101").status_code == 200
    assert user.ask("GET", f"/servers/{server}?unknown=1", version="2.102").status_code == 400
    assert user.ask("GET", "/servers?all_tenants=1").status_code == 403
    assert server in [s["id"] for s in shop.admin.get("/servers?all_tenants=1")["servers"]]
    assert user.ask("GET", "/servers?changes-since=yesterday").status_code == 400


def test_lists_are_sorted_and_paged(shop: Shop) -> None:
    made = [shop.boot(f"page-{n}", networks="none") for n in range(4)]
    user = shop.user
    seen, url = [], "/servers?name=page-&limit=3&sort_key=display_name&sort_dir=asc"
    pages = 0
    while url:
        answer = user.get(url)
        seen += [s["id"] for s in answer["servers"]]
        links = answer.get("servers_links")
        url = links[0]["href"].split("/compute/v2.1")[1] if links else None
        pages += 1
    assert seen == made
    assert pages == 2
    assert [s["id"] for s in user.get("/servers?name=page-")["servers"]] == made[::-1]
    assert user.ask("GET", "/servers?marker=nobody").status_code == 400
    for server in made:
        user.delete(server)


def test_an_image_property_is_shown_from_2_98_on(shop: Shop) -> None:
    image = make_image(shop.cloud, shop.admin.token, "props", visibility="public", hw_disk_bus="virtio")
    server = shop.boot("props", imageRef=image, networks="none")
    assert shop.user.server(server, version="2.98")["image"]["properties"] == {"hw_disk_bus": "virtio"}
    shop.user.delete(server)


def test_the_list_of_a_thousand_takes_as_few_statements_as_that_of_one(shop: Shop, server: str, cloud: Cloud) -> None:
    import msgspec

    from pileus.services.compute.db import servers

    rt = cloud.node.runtimes["compute"]
    row = cloud.run(rt.db.read(servers.get, server))

    def fill(tx) -> None:
        for n in range(1_000):
            copy = msgspec.structs.replace(row, id=tx.clock.new_id(), project_id="crowd", name=f"crowd-{n}")
            servers.insert(tx, copy)

    cloud.run(rt.db.write(fill))
    path = "/servers/detail?all_tenants=1&project_id=crowd&limit="
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_more) -> None:
        statements.append(statement)

    event.listen(rt.db.engine, "before_cursor_execute", note)
    counts = []
    for limit in (1, 1_000):
        statements.clear()
        assert len(shop.admin.get(path + str(limit))["servers"]) == limit
        counts.append(len([text for text in statements if "flows" not in text]))
    event.remove(rt.db.engine, "before_cursor_execute", note)
    assert counts[1] <= counts[0] + 1, counts

    def empty(tx) -> None:
        tx.execute(servers.SERVERS.delete().where(servers.SERVERS.c.project_id == "crowd"))

    cloud.run(rt.db.write(empty))


def test_a_guest_that_powers_itself_off_is_noticed(shop: Shop) -> None:
    from pileus.services.compute.worker.agent import ComputeAgent

    server = shop.boot("sleepy", networks="none")
    shop.admin.until_status(server, "ACTIVE")
    agent = shop.cloud.node.runtimes["compute"].get(ComputeAgent)
    agent.hypervisor.guest_powers_itself_off(server)
    shown = shop.admin.until_status(server, "SHUTOFF")
    assert shown["OS-EXT-STS:power_state"] == 4
    assert shop.user.act(server, "os-start").status_code == 202
    shop.admin.until_status(server, "ACTIVE")
    shop.user.delete(server)
