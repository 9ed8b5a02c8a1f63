"""Flavors: made by administrators, seen by those who may."""

from __future__ import annotations

import pytest

from cloud import Cloud

SERVICES = ("identity", "compute")


def call(cloud: Cloud, method: str, path: str, token: str, version: str = "2.1", **more):
    headers = {"OpenStack-API-Version": f"compute {version}"}
    return cloud.request(method, "/compute/v2.1" + path, token=token, headers=headers, **more)


def flavor(cloud: Cloud, admin: str, name: str, version: str = "2.1", **values) -> dict:
    body = {"name": name, "ram": 512, "vcpus": 1, "disk": 1, **values}
    answer = call(cloud, "POST", "/flavors", admin, version, json={"flavor": body})
    assert answer.status_code == 200, answer.text
    return answer.json()["flavor"]


@pytest.fixture(scope="module")
def admin(cloud: Cloud) -> str:
    return cloud.admin_token()


@pytest.fixture(scope="module")
def member(cloud: Cloud) -> tuple[str, str]:
    return cloud.new_project("flavor-user")


def test_a_flavor_is_created_shown_listed_and_deleted(cloud: Cloud, admin: str) -> None:
    made = flavor(cloud, admin, "small", id="s1", swap=128, **{"OS-FLV-EXT-DATA:ephemeral": 2})
    assert made["id"] == "s1"
    assert made["swap"] == 128
    assert made["OS-FLV-EXT-DATA:ephemeral"] == 2
    assert made["rxtx_factor"] == 1.0
    assert made["os-flavor-access:is_public"] is True
    assert {link["rel"] for link in made["links"]} == {"self", "bookmark"}
    shown = call(cloud, "GET", "/flavors/s1", admin).json()["flavor"]
    assert shown == made
    listed = call(cloud, "GET", "/flavors", admin).json()["flavors"]
    assert [(f["id"], sorted(f)) for f in listed if f["id"] == "s1"] == [("s1", ["id", "links", "name"])]
    assert call(cloud, "DELETE", "/flavors/s1", admin).status_code == 202
    gone = call(cloud, "GET", "/flavors/s1", admin)
    assert gone.status_code == 404
    assert gone.json() == {"itemNotFound": {"code": 404, "message": "Flavor s1 could not be found."}}


def test_fields_follow_the_microversion(cloud: Cloud, admin: str) -> None:
    made = flavor(cloud, admin, "described", "2.55", description="for tests")
    assert made["description"] == "for tests"
    assert "extra_specs" not in made
    path = f"/flavors/{made['id']}"
    assert call(cloud, "POST", path + "/os-extra_specs", admin, json={"extra_specs": {"hw:x": "1"}}).status_code == 200
    assert call(cloud, "GET", path, admin, "2.61").json()["flavor"]["extra_specs"] == {"hw:x": "1"}
    assert call(cloud, "GET", path, admin, "2.74").json()["flavor"]["swap"] == ""
    assert call(cloud, "GET", path, admin, "2.75").json()["flavor"]["swap"] == 0
    assert "rxtx_factor" not in call(cloud, "GET", path, admin, "2.102").json()["flavor"]
    body = {"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 0, "description": "no"}}
    assert call(cloud, "POST", "/flavors", admin, "2.54", json=body).status_code == 400
    changed = call(cloud, "PUT", path, admin, "2.55", json={"flavor": {"description": None}})
    assert changed.json()["flavor"]["description"] is None
    assert call(cloud, "PUT", path, admin, "2.54", json={"flavor": {"description": None}}).status_code == 404
    assert call(cloud, "DELETE", path, admin).status_code == 202


def test_names_and_ids_are_unique(cloud: Cloud, admin: str) -> None:
    made = flavor(cloud, admin, "twice")
    body = {"flavor": {"name": "twice", "ram": 1, "vcpus": 1, "disk": 1}}
    same_name = call(cloud, "POST", "/flavors", admin, json=body)
    assert same_name.status_code == 409
    assert same_name.json()["conflictingRequest"]["message"] == "Flavor with name twice already exists."
    body["flavor"] |= {"name": "other", "id": made["id"]}
    assert call(cloud, "POST", "/flavors", admin, json=body).status_code == 409
    call(cloud, "DELETE", f"/flavors/{made['id']}", admin)


@pytest.mark.parametrize(
    "change",
    [
        {"ram": 0}, {"ram": -1}, {"ram": "many"}, {"vcpus": 0}, {"disk": -1}, {"name": ""}, {"name": " spaces "},
        {"name": "x" * 256}, {"id": "with/slash"}, {"swap": 2**31}, {"rxtx_factor": 0}, {"unknown": 1},
        {"os-flavor-access:is_public": "perhaps"},
    ],
)
def test_a_bad_flavor_is_refused_with_400(cloud: Cloud, admin: str, change: dict) -> None:
    body = {"flavor": {"name": "bad", "ram": 1, "vcpus": 1, "disk": 1} | change}
    answer = call(cloud, "POST", "/flavors", admin, json=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"badRequest"}


def test_malformed_and_oversized_bodies(cloud: Cloud, admin: str) -> None:
    assert call(cloud, "POST", "/flavors", admin, data=b"{nonsense").status_code == 400
    assert call(cloud, "POST", "/flavors", admin, data=b"").status_code == 400
    huge = call(cloud, "POST", "/flavors", admin, data=b"x" * 200_000)
    assert huge.status_code == 413
    assert huge.json()["overLimit"]["retryAfter"] == "0"


def test_private_flavors_are_seen_by_those_with_access(cloud: Cloud, admin: str, member: tuple[str, str]) -> None:
    project, token = member
    made = flavor(cloud, admin, "private", **{"os-flavor-access:is_public": False})
    path = f"/flavors/{made['id']}"
    assert call(cloud, "GET", path, token).status_code == 404
    assert made["id"] not in [f["id"] for f in call(cloud, "GET", "/flavors", token).json()["flavors"]]
    private = call(cloud, "GET", "/flavors?is_public=None", admin).json()["flavors"]
    assert made["id"] in [f["id"] for f in private]
    assert made["id"] not in [f["id"] for f in call(cloud, "GET", "/flavors", admin).json()["flavors"]]
    grant = {"addTenantAccess": {"tenant": project}}
    given = call(cloud, "POST", path + "/action", admin, json=grant)
    assert given.json() == {"flavor_access": [{"flavor_id": made["id"], "tenant_id": project}]}
    assert call(cloud, "POST", path + "/action", admin, json=grant).status_code == 409
    assert call(cloud, "GET", path, token).status_code == 200
    assert made["id"] in [f["id"] for f in call(cloud, "GET", "/flavors", token).json()["flavors"]]
    taken = call(cloud, "POST", path + "/action", admin, json={"removeTenantAccess": {"tenant": project}})
    assert taken.json() == {"flavor_access": []}
    assert call(cloud, "GET", path, token).status_code == 404
    assert call(cloud, "POST", path + "/action", token, json=grant).status_code == 403
    call(cloud, "DELETE", path, admin)


def test_extra_specs_one_by_one(cloud: Cloud, admin: str, member: tuple[str, str]) -> None:
    made = flavor(cloud, admin, "specs")
    path = f"/flavors/{made['id']}/os-extra_specs"
    assert call(cloud, "POST", path, admin, json={"extra_specs": {"a": "1", "b": "2"}}).json() == {
        "extra_specs": {"a": "1", "b": "2"}
    }
    assert call(cloud, "PUT", path + "/a", admin, json={"a": "3"}).json() == {"a": "3"}
    assert call(cloud, "PUT", path + "/a", admin, json={"b": "3"}).status_code == 400
    assert call(cloud, "GET", path + "/a", member[1]).json() == {"a": "3"}
    assert call(cloud, "DELETE", path + "/b", admin).status_code == 200
    assert call(cloud, "DELETE", path + "/b", admin).status_code == 404
    assert call(cloud, "GET", path, member[1]).json() == {"extra_specs": {"a": "3"}}
    assert call(cloud, "POST", path, member[1], json={"extra_specs": {"a": "1"}}).status_code == 403
    wrong = call(cloud, "POST", path, admin, "2.86", json={"extra_specs": {"hw:cpu_policy": "sometimes"}})
    assert wrong.status_code == 400
    right = call(cloud, "POST", path, admin, "2.86", json={"extra_specs": {"hw:cpu_policy": "shared"}})
    assert right.status_code == 200
    call(cloud, "DELETE", f"/flavors/{made['id']}", admin)


def test_lists_filter_sort_and_page(cloud: Cloud, admin: str) -> None:
    made = [flavor(cloud, admin, f"page-{n}", id=f"page-{n}", ram=1000 + n, disk=n) for n in range(5)]
    ids = [f["id"] for f in made]
    mine = [f["id"] for f in call(cloud, "GET", "/flavors?minRam=1000", admin).json()["flavors"]]
    assert mine == ids
    assert [f["id"] for f in call(cloud, "GET", "/flavors?minRam=1000&minDisk=3", admin).json()["flavors"]] == ids[3:]
    down = call(cloud, "GET", "/flavors?minRam=1000&sort_key=memory_mb&sort_dir=desc", admin).json()["flavors"]
    assert [f["id"] for f in down] == ids[::-1]
    seen, url = [], "/flavors/detail?minRam=1000&limit=2"
    while url:
        page = call(cloud, "GET", url, admin).json()
        seen += [f["id"] for f in page["flavors"]]
        links = page.get("flavors_links")
        url = links[0]["href"].split("/compute/v2.1")[1] if links else None
    assert seen == ids
    assert call(cloud, "GET", "/flavors?minRam=lots", admin).status_code == 400
    assert call(cloud, "GET", "/flavors?marker=unknown", admin).status_code == 400
    assert call(cloud, "GET", "/flavors?limit=-1", admin).status_code == 400
    assert call(cloud, "GET", "/flavors?nonsense=1", admin, "2.75").status_code == 400
    for flavor_id in ids:
        call(cloud, "DELETE", f"/flavors/{flavor_id}", admin)
