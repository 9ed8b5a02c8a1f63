"""Every id that a request for a server can carry, when it is somebody else's; and images' members, raced quotas."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.compute.actors import Actor, Shop, make_image, make_network
from cloud import Cloud
from pileus.services.compute.tasks import network_info

PAYLOADS = (
    "$(touch /tmp/owned)", "`id`", "'; DROP TABLE servers; --", "<x>]]></x><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///'>]>",
    "../../../../etc/passwd", "%s%n{0.__class__}{{7*7}}", "-netdev=user",
)  # fmt: skip


class World:
    """A shop whose user is the attacker, and a neighbour with things of their own."""

    def __init__(self, cloud: Cloud) -> None:
        self.shop = Shop(cloud)
        self.bob = self.shop.user
        project, token = cloud.new_project("neighbour")
        self.alice = Actor(cloud, token, project)
        self.image = make_image(cloud, token, "private", visibility="private")
        self.network = make_network(self.alice, "hers", "10.77.0.0/24")
        made = self.alice.network("POST", "/ports", {"port": {"network_id": self.network}})
        self.port = made.json()["port"]
        group = self.alice.network("POST", "/security-groups", {"security_group": {"name": "hers"}})
        self.security_group = group.json()["security_group"]["id"]
        body = {"server_group": {"name": "hers", "policy": "affinity"}}
        self.server_group = self.alice.ask("POST", "/os-server-groups", body).json()["server_group"]["id"]
        key = self.alice.ask("POST", "/os-keypairs", {"keypair": {"name": "hers", "type": "ssh", "public_key": KEY}})
        assert key.status_code == 201, key.text
        booted = self.alice.boot(
            "victim", imageRef=self.image, flavorRef=self.shop.flavor, networks=[{"uuid": self.network}],
            user_data=base64.b64encode(b"secret of alice").decode(),
        )  # fmt: skip
        self.victim = booted.json()["server"]["id"]
        self.alice.until_status(self.victim, "ACTIVE")


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJxJwGFyNYPAmAmWPyTBhEbYSfDiR1VeRcM3rhJkS0vU alice"


@pytest.fixture(scope="module")
def world(cloud: Cloud) -> World:
    return World(cloud)


def test_no_server_is_made_of_foreign_parts(world: World) -> None:
    shop = world.shop
    good: Any = {
        "imageRef": shop.image, "flavorRef": shop.flavor, "networks": [{"uuid": shop.network}],
    }  # fmt: skip
    changes: tuple[Any, ...] = (
        {"imageRef": world.image}, {"networks": [{"uuid": world.network}]}, {"networks": [{"port": world.port["id"]}]},
        {"key_name": "hers"}, {"security_groups": [{"name": world.security_group}]},
        {"security_groups": [{"name": "hers"}]},
        {"project_id": world.alice.project_id}, {"tenant_id": world.alice.project_id}, {"host": "test-host"},
        {"availability_zone": "nova:test-host"}, {"user_id": "x"}, {"status": "ACTIVE"}, {"metadata": {"a": None}},
    )
    for change in changes:
        answer = world.bob.boot("thief", **good | change)
        assert answer.status_code in (400, 403, 404), (change, answer.status_code, answer.text)
    answer = world.bob.boot("thief", hints={"group": world.server_group}, **good)
    assert answer.status_code == 400, answer.text
    assert world.bob.get("/servers")["servers"] == []


def test_a_foreign_server_is_not_there(world: World) -> None:
    base = f"/servers/{world.victim}"
    for method, path, body in (
        ("GET", base, None), ("PUT", base, {"server": {"name": "mine"}}), ("DELETE", base, None),
        ("GET", base + "/tags", None), ("PUT", base + "/tags", {"tags": ["x"]}), ("PUT", base + "/tags/x", None),
        ("GET", base + "/metadata", None), ("PUT", base + "/metadata", {"metadata": {}}),
        ("GET", base + "/os-instance-actions", None), ("GET", base + "/os-security-groups", None),
        ("POST", base + "/action", {"os-stop": None}), ("POST", base + "/action", {"lock": None}),
        ("POST", base + "/action", {"os-getConsoleOutput": {}}),
        ("POST", base + "/action", {"reboot": {"type": "HARD"}}),
        ("POST", base + "/action", {"addSecurityGroup": {"name": "default"}}),
        ("GET", f"/os-server-groups/{world.server_group}", None),
        ("DELETE", f"/os-server-groups/{world.server_group}", None), ("GET", "/os-keypairs/hers", None),
    ):
        answer = world.bob.ask(method, path, body, version="2.79")
        assert answer.status_code in (403, 404), (method, path, body, answer.status_code, answer.text)


@pytest.mark.parametrize("query", [
    "all_tenants=1", "all_tenants", "project_id={p}", "tenant_id={p}", "host=test-host", "ip=10.77", "ip6=.",
    "uuid={s}",
    "deleted=true", "changes-since=2000-01-01T00:00:00Z", "name=.*", "marker={s}", "reservation_id=", "node=test-host",
    "status=ACTIVE", "user_id=x", "all_tenants=0&project_id={p}", "ALL_TENANTS=1", "image={i}",
])  # fmt: skip
@pytest.mark.parametrize("version", ["2.1", "2.74", "2.96"])
def test_no_filter_lists_a_foreign_server(world: World, query: str, version: str) -> None:
    text = query.format(p=world.alice.project_id, s=world.victim, i=world.image)
    for path in ("/servers", "/servers/detail"):
        answer = world.bob.ask("GET", f"{path}?{text}", version=version)
        assert answer.status_code in (200, 400, 403, 404), (path, text, answer.text)
        if answer.status_code == 200:
            assert world.victim not in answer.text, (path, text, version)


def test_a_port_that_claims_a_foreign_server_shows_and_breaks_nothing(world: World) -> None:
    before = world.alice.server(world.victim)["addresses"]
    values = {"network_id": world.shop.network, "device_id": world.victim, "device_owner": "compute:nova"}
    made = world.bob.network("POST", "/ports", {"port": values})
    assert made.status_code == 201, made.text
    port_id = made.json()["port"]["id"]
    assert world.shop.cloud.node is not None
    rt = next(rt for rt in world.shop.cloud.node.runtimes.values() if rt.service.type == "compute")
    world.shop.cloud.run(network_info.refresh_server(rt, world.victim))
    assert world.alice.server(world.victim)["addresses"] == before
    assert world.bob.network("DELETE", f"/ports/{port_id}").status_code == 204


def test_a_foreign_image_has_no_members_and_no_data(world: World) -> None:
    path, cloud = f"/image/v2/images/{world.image}", world.shop.cloud
    patch = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    for method, below, more in (
        ("GET", "", {}), ("GET", "/file", {}), ("DELETE", "", {}), ("GET", "/members", {}),
        ("POST", "/members", {"json": {"member": world.bob.project_id}}),
        ("PUT", f"/members/{world.bob.project_id}", {"json": {"status": "accepted"}}),
        ("PUT", "/tags/x", {}), ("POST", "/actions/deactivate", {}),
        ("PATCH", "", {"json": [{"op": "replace", "path": "/visibility", "value": "public"}], "headers": patch}),
    ):
        answer = cloud.request(method, path + below, token=world.bob.token, **more)
        assert answer.status_code in (403, 404), (method, below, answer.status_code, answer.text)
    for query in (f"owner={world.alice.project_id}", "visibility=all", "visibility=private", "member_status=all"):
        listed = cloud.request("GET", f"/image/v2/images?{query}", token=world.bob.token)
        assert world.image not in listed.text, query


def test_payloads_in_names_stay_text(world: World) -> None:
    """Names, metadata and user data come back as they were, and the guest is made."""
    for payload in PAYLOADS:
        answer = world.bob.boot(
            payload, imageRef=world.shop.image, flavorRef=world.shop.flavor, networks=[{"uuid": world.shop.network}],
            metadata={"a": payload}, description=payload, user_data=base64.b64encode(payload.encode()).decode(),
            config_drive=True,
        )  # fmt: skip
        assert answer.status_code == 202, (payload, answer.text)
        server_id = answer.json()["server"]["id"]
        found = world.bob.until_status(server_id, "ACTIVE")
        assert (found["name"], found["metadata"], found["description"]) == (payload, {"a": payload}, payload)
        world.bob.delete(server_id)


def test_twenty_servers_at_once_do_not_pass_the_quota(world: World) -> None:
    project_id, token = world.shop.cloud.new_project("racer")
    racer = Actor(world.shop.cloud, token, project_id)
    body = {"quota_set": {"instances": 3, "server_groups": 2}}
    assert world.shop.admin.ask("PUT", f"/os-quota-sets/{project_id}", body).status_code == 200
    values: Any = {"imageRef": world.shop.image, "flavorRef": world.shop.flavor, "networks": "none"}
    with ThreadPoolExecutor(20) as pool:
        answers = [one.status_code for one in pool.map(lambda n: racer.boot(f"r{n}", **values), range(20))]
    assert (answers.count(202), answers.count(403)) == (3, 17), answers
    group = {"server_group": {"name": "g", "policy": "affinity"}}
    with ThreadPoolExecutor(20) as pool:
        made = [one.status_code for one in pool.map(lambda _: racer.ask("POST", "/os-server-groups", group), range(20))]
    assert (made.count(200), made.count(403)) == (2, 18), made
    for server in racer.get("/servers")["servers"]:
        racer.delete(server["id"])
