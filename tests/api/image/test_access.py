"""Every route refuses strangers: 401 without a token, 404 for what is not theirs to see, 403 for what is not theirs."""

from __future__ import annotations

from typing import Any

import pytest

from cloud import Cloud
from pileus.kernel.http import PUBLIC, Route
from pileus.services.image.service import SERVICE

from .conftest import Tenant
from .image_api import OCTETS, PATCH, active_image, new_image

SERVICES = ("identity", "image")
GUARDED = [route for route in SERVICE.routes if route.policy != PUBLIC]
OF_AN_IMAGE = [route for route in GUARDED if "{image_id}" in route.path]
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "members"): {"json": {"member": "somebody"}},
    ("PUT", "{member_id}"): {"json": {"status": "accepted"}},
    ("PATCH", "{image_id}"): {"json": [{"op": "replace", "path": "/name", "value": "x"}], "headers": PATCH},
    ("PUT", "file"): {"data": b"x", "headers": OCTETS},
    ("POST", "images"): {"json": {"name": "x"}},
}
WRITES = {"POST", "PUT", "PATCH", "DELETE"}


def send(cloud: Cloud, route: Route, token: str | None, image_id: str, member: str = "somebody"):
    path = route.path.replace("{image_id}", image_id).replace("{member_id}", member).replace("{tag:path}", "tag")
    more = BODIES.get((route.method, route.path.rpartition("/")[2]), {})
    return cloud.request(route.method, "/image" + path, token=token, **more)


def identify(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", GUARDED, ids=identify)
def test_no_token_no_answer(cloud: Cloud, ann: Tenant, route: Route) -> None:
    image = new_image(cloud, ann.token)
    for token in (None, "not-a-token"):
        answer = send(cloud, route, token, image["id"])
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == 401
        assert "Keystone uri=" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("route", OF_AN_IMAGE, ids=identify)
def test_another_projects_private_image_does_not_exist(
    cloud: Cloud, ann: Tenant, bob: Tenant, route: Route
) -> None:
    image = active_image(cloud, ann.token)
    answer = send(cloud, route, bob.token, image["id"])
    assert answer.status_code == 404, answer.text
    absent = send(cloud, route, bob.token, "00000000-0000-4000-8000-000000000000")
    assert absent.text.replace("00000000-0000-4000-8000-000000000000", image["id"]) == answer.text


@pytest.mark.parametrize("route", [r for r in OF_AN_IMAGE if r.method in WRITES], ids=identify)
def test_a_public_image_is_changed_by_its_owner_only(
    cloud: Cloud, admin: str, ann: Tenant, bob: Tenant, route: Route
) -> None:
    image = new_image(cloud, admin, owner=ann.project_id, visibility="public")
    answer = send(cloud, route, bob.token, image["id"])
    # A member that is not there is not told apart from one that must not be seen.
    assert answer.status_code == (404 if "{member_id}" in route.path else 403), answer.text


@pytest.fixture(scope="module")
def reader(cloud: Cloud) -> Tenant:
    """A project whose only user may read and nothing else."""
    return Tenant(*cloud.new_project("reader", roles=("reader",)))


@pytest.mark.parametrize("route", [r for r in GUARDED if r.method in WRITES], ids=identify)
def test_readers_change_nothing(cloud: Cloud, admin: str, reader: Tenant, route: Route) -> None:
    image = new_image(cloud, admin, owner=reader.project_id, visibility="shared")
    path = f"/image/v2/images/{image['id']}/members"
    assert cloud.request("POST", path, token=admin, json={"member": reader.project_id}).status_code == 200
    answer = send(cloud, route, reader.token, image["id"], reader.project_id)
    if route.path == "/v2/images" and route.method != "POST":
        assert answer.status_code == 405
    else:
        assert answer.status_code == 403, answer.text


def test_readers_read(cloud: Cloud, admin: str, reader: Tenant) -> None:
    image = new_image(cloud, admin, owner=reader.project_id)
    assert cloud.request("GET", f"/image/v2/images/{image['id']}", token=reader.token).status_code == 200
    assert cloud.request("GET", "/image/v2/images", token=reader.token).status_code == 200
    # As upstream has it, the data itself is for members.
    assert cloud.request("GET", f"/image/v2/images/{image['id']}/file", token=reader.token).status_code == 403


def test_identity_headers_of_clients_mean_nothing(cloud: Cloud, ann: Tenant, bob: Tenant) -> None:
    image = new_image(cloud, ann.token)
    forged = {"X-Roles": "admin", "X-Project-Id": ann.project_id, "X-User-Id": "root", "X-Is-Admin-Project": "True"}
    path = f"/image/v2/images/{image['id']}"
    assert cloud.request("GET", path, token=bob.token, headers=forged).status_code == 404
    assert cloud.request("GET", path, headers=forged).status_code == 401


def test_traversal_in_paths_finds_nothing(cloud: Cloud, ann: Tenant) -> None:
    for evil in ("..%2f..%2fetc%2fpasswd", "%2e%2e", "....//", "%00", "a" * 5_000):
        for suffix in ("", "/file"):
            answer = cloud.request("GET", f"/image/v2/images/{evil}{suffix}", token=ann.token)
            assert answer.status_code == 404
