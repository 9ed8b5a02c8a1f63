"""A shared image is seen by those it is shared with, and listed once they accepted it."""

from __future__ import annotations

from typing import Any

import pytest

from cloud import Cloud

from .conftest import Tenant
from .image_api import active_image, new_image, patch, show

SERVICES = ("identity", "image")


@pytest.fixture
def shared(cloud: Cloud, ann: Tenant) -> str:
    """The id of an active shared image of ann's."""
    return active_image(cloud, ann.token, visibility="shared", name="shared")["id"]


def call(cloud: Cloud, method: str, token: str, image_id: str, member: str = "", **body: Any):
    path = f"/image/v2/images/{image_id}/members" + (f"/{member}" if member else "")
    return cloud.request(method, path, token=token, json=body or None)


def listed(cloud: Cloud, token: str, query: str = "") -> set[str]:
    return {image["id"] for image in cloud.request("GET", f"/image/v2/images?{query}", token=token).json()["images"]}


def test_the_life_of_a_membership(cloud: Cloud, ann: Tenant, bob: Tenant, shared: str) -> None:
    assert cloud.request("GET", f"/image/v2/images/{shared}", token=bob.token).status_code == 404
    path = f"/image/v2/images/{shared}/members"
    added = cloud.request("POST", path, token=ann.token, json={"member": bob.project_id})
    assert added.status_code == 200
    member = added.json()
    assert {key: member[key] for key in ("member_id", "image_id", "status", "schema")} == {
        "member_id": bob.project_id, "image_id": shared, "status": "pending", "schema": "/v2/schemas/member"
    }
    # Seen by id at once, in listings only when it is asked for or accepted.
    assert show(cloud, bob.token, shared)["visibility"] == "shared"
    assert shared not in listed(cloud, bob.token)
    assert shared in listed(cloud, bob.token, "member_status=pending&visibility=shared")
    assert shared in listed(cloud, bob.token, "member_status=all")
    assert call(cloud, "PUT", bob.token, shared, bob.project_id, status="accepted").json()["status"] == "accepted"
    assert shared in listed(cloud, bob.token)
    assert cloud.request("GET", f"/image/v2/images/{shared}/file", token=bob.token).content == b"some bytes"
    assert call(cloud, "PUT", bob.token, shared, bob.project_id, status="rejected").status_code == 200
    assert shared not in listed(cloud, bob.token)
    assert call(cloud, "GET", ann.token, shared, bob.project_id).json()["status"] == "rejected"
    assert call(cloud, "DELETE", ann.token, shared, bob.project_id).status_code == 204
    # Having read it before helps nothing.
    for path in ("", "/file", "/members"):
        assert cloud.request("GET", f"/image/v2/images/{shared}{path}", token=bob.token).status_code == 404


def test_who_may_do_what(cloud: Cloud, admin: str, ann: Tenant, bob: Tenant, shared: str) -> None:
    path = f"/image/v2/images/{shared}/members"
    assert cloud.request("POST", path, token=ann.token, json={"member": bob.project_id}).status_code == 200
    assert cloud.request("POST", path, token=ann.token, json={"member": bob.project_id}).status_code == 409
    assert cloud.request("POST", path, token=ann.token, json={"member": "other"}).status_code == 200
    # The owner cannot accept for the member, the member cannot share on or leave, nor see the others.
    assert call(cloud, "PUT", ann.token, shared, bob.project_id, status="accepted").status_code == 403
    assert cloud.request("POST", path, token=bob.token, json={"member": "third"}).status_code == 403
    assert call(cloud, "DELETE", bob.token, shared, bob.project_id).status_code == 403
    assert [m["member_id"] for m in call(cloud, "GET", bob.token, shared).json()["members"]] == [bob.project_id]
    assert call(cloud, "GET", bob.token, shared, "other").status_code == 404
    assert call(cloud, "PUT", bob.token, shared, "other", status="accepted").status_code == 404
    assert call(cloud, "GET", bob.token, shared, bob.project_id).status_code == 200
    everybody = {bob.project_id, "other"}
    for token in (ann.token, admin):
        body = call(cloud, "GET", token, shared).json()
        assert ({m["member_id"] for m in body["members"]}, body["schema"]) == (everybody, "/v2/schemas/members")
    # A member changes nothing of the image itself.
    assert patch(cloud, bob.token, shared, {"op": "replace", "path": "/name", "value": "x"}).status_code == 403
    assert cloud.request("DELETE", f"/image/v2/images/{shared}", token=bob.token).status_code == 403


def test_only_shared_images_have_members(cloud: Cloud, ann: Tenant, bob: Tenant, shared: str) -> None:
    path = f"/image/v2/images/{shared}/members"
    assert cloud.request("POST", path, token=ann.token, json={"member": bob.project_id}).status_code == 200
    assert patch(cloud, ann.token, shared, {"op": "replace", "path": "/visibility", "value": "private"}).ok
    assert cloud.request("GET", f"/image/v2/images/{shared}", token=bob.token).status_code == 404
    assert cloud.request("POST", path, token=ann.token, json={"member": "x"}).status_code == 403
    private = new_image(cloud, ann.token)["id"]
    answer = cloud.request("POST", f"/image/v2/images/{private}/members", token=ann.token, json={"member": "x"})
    assert (answer.status_code, "Only shared images" in answer.text) == (403, True)


def test_bad_requests(cloud: Cloud, ann: Tenant, bob: Tenant, shared: str) -> None:
    path = f"/image/v2/images/{shared}/members"
    for body in ({}, {"member": ""}, {"member": 7}, {"member": "m" * 256}, [], "x"):
        assert cloud.request("POST", path, token=ann.token, json=body).status_code == 400
    assert cloud.request("POST", path, token=ann.token, json={"member": bob.project_id}).status_code == 200
    for body in ({"status": "maybe"}, {"status": None}, {}):
        answer = cloud.request("PUT", f"{path}/{bob.project_id}", token=bob.token, json=body)
        assert answer.status_code == 400
    assert call(cloud, "DELETE", ann.token, shared, "absent").status_code == 404
