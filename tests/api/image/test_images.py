"""Images keep what they are given, refuse what nobody may set, and change only by whole patches."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from cloud import Cloud

from .conftest import Tenant
from .image_api import OLD_PATCH, PATCH, active_image, new_image, patch, show, stored_files

SERVICES = ("identity", "image")
FIXED = {"checksum", "created_at", "file", "id", "os_hash_algo", "os_hash_value", "owner", "schema", "self", "size",
         "status", "updated_at", "virtual_size"}


def post(cloud: Cloud, token: str, **body: Any):
    return cloud.request("POST", "/image/v2/images", token=token, json=body)


def test_versions_are_public_and_the_root_answers_300(cloud: Cloud) -> None:
    root = cloud.request("GET", "/image/")
    assert root.status_code == 300
    versions = root.json()["versions"]
    assert [v["status"] for v in versions] == ["CURRENT"] + ["SUPPORTED"] * (len(versions) - 1)
    assert {v["id"] for v in versions} >= {"v2.0", "v2.1", "v2.5", "v2.7", "v2.15"}
    assert versions[0]["links"] == [{"rel": "self", "href": f"{cloud.url}/image/v2/"}]
    for path in ("/image/versions", "/image/v2", "/image/v2/"):
        answer = cloud.request("GET", path)
        assert (answer.status_code, answer.json()["versions"]) == (200, versions)


def test_create_with_everything(cloud: Cloud, ann: Tenant) -> None:
    image_id = str(uuid.uuid4())
    given = {
        "id": image_id, "name": "ünï ☃", "disk_format": "qcow2", "container_format": "bare", "min_disk": 3,
        "min_ram": 64, "protected": False, "visibility": "private", "os_hidden": True, "tags": ["b", "a", "b"],
        "os_distro": "debian", "hw_disk_bus": "virtio", "kernel_id": str(uuid.uuid4()),
    }
    response = post(cloud, ann.token, **given)
    assert response.status_code == 201
    assert response.headers["Location"] == f"{cloud.url}/image/v2/images/{image_id}"
    image = response.json()
    assert {key: value for key, value in image.items() if key not in FIXED - {"id"}} == given | {"tags": ["a", "b"]}
    assert image["status"] == "queued"
    assert image["owner"] == ann.project_id
    assert image["self"] == f"/v2/images/{image_id}"
    assert image["file"] == f"/v2/images/{image_id}/file"
    assert image["schema"] == "/v2/schemas/image"
    for time in ("created_at", "updated_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", image[time])
    assert all(image[name] is None for name in ("size", "checksum", "os_hash_algo", "os_hash_value", "virtual_size"))
    assert not {"direct_url", "locations"} & set(image)
    assert show(cloud, ann.token, image_id) == image


def test_defaults(cloud: Cloud, ann: Tenant) -> None:
    image = post(cloud, ann.token).json()
    assert (image["visibility"], image["name"], image["disk_format"], image["min_disk"]) == ("shared", None, None, 0)
    assert (image["protected"], image["os_hidden"], image["tags"]) == (False, False, [])


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"disk_format": "wrong"}, 400, "wrong"),
        ({"container_format": "ova"}, 400, "ova"),
        ({"name": "n" * 256}, 400, "name"),
        ({"name": 7}, 400, "name"),
        ({"min_disk": -1}, 400, "min_disk"),
        ({"min_ram": True}, 400, "min_ram"),
        ({"min_ram": 2**40}, 400, "min_ram"),
        ({"visibility": "secret"}, 400, "secret"),
        ({"protected": "yes"}, 400, "protected"),
        ({"tags": ["t" * 256]}, 400, "tags"),
        ({"tags": "x"}, 400, "tags"),
        ({"id": "not-a-uuid"}, 400, "id"),
        ({"custom": 7}, 400, "custom"),
        ({"c" * 256: "x"}, 400, "255"),
        ({"status": "active"}, 403, "Attribute 'status' is read-only."),
        ({"size": 1}, 403, "Attribute 'size' is read-only."),
        ({"checksum": "x"}, 403, "read-only"),
        ({"os_hash_value": "x"}, 403, "read-only"),
        ({"location": "file:///etc/passwd"}, 403, "reserved"),
        ({"locations": [{"url": "file:///etc/passwd", "metadata": {}}]}, 403, "reserved"),
        ({"direct_url": "file:///etc/passwd"}, 403, "read-only"),
        ({"deleted": "x"}, 403, "reserved"),
        ({"os_glance_x": "x"}, 403, "reserved"),
        ({"owner": "somebody"}, 403, "somebody"),
        ({"visibility": "public"}, 403, "publicize_image"),
        ({f"p{n}": "x" for n in range(129)}, 413, "properties"),
        ({"tags": [str(n) for n in range(129)]}, 413, "tags"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_create_refuses(cloud: Cloud, ann: Tenant, body: dict[str, Any], status: int, text: str) -> None:
    response = post(cloud, ann.token, **body)
    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert f"<title>{status} " in response.text
    assert text in response.text


def test_malformed_bodies_are_400(cloud: Cloud, ann: Tenant) -> None:
    for data in (b"", b"{", b"[]", b'"x"', b"\xff\xfe"):
        assert cloud.request("POST", "/image/v2/images", token=ann.token, data=data).status_code == 400
    huge = b'{"name": "' + b"x" * 200_000 + b'"}'
    assert cloud.request("POST", "/image/v2/images", token=ann.token, data=huge).status_code == 413


def test_markup_in_a_fault_is_inert(cloud: Cloud, ann: Tenant) -> None:
    response = cloud.request("GET", "/image/v2/images/<script>alert(1)<%2Fscript>", token=ann.token)
    assert response.status_code == 404
    assert "<script>" not in response.text


def test_admin_sets_owner_and_public(cloud: Cloud, admin: str, ann: Tenant, bob: Tenant) -> None:
    image = new_image(cloud, admin, owner=ann.project_id, visibility="public")
    assert image["owner"] == ann.project_id
    assert show(cloud, bob.token, image["id"])["name"] is None
    moved = patch(cloud, admin, image["id"], {"op": "replace", "path": "/owner", "value": bob.project_id})
    assert moved.json()["owner"] == bob.project_id


def test_an_id_is_never_used_twice(cloud: Cloud, ann: Tenant, bob: Tenant) -> None:
    image = new_image(cloud, ann.token)
    again = post(cloud, bob.token, id=image["id"])
    assert (again.status_code, image["id"] in again.text) == (409, True)
    assert cloud.request("DELETE", f"/image/v2/images/{image['id']}", token=ann.token).status_code == 204
    assert post(cloud, bob.token, id=image["id"].upper()).status_code == 409


def test_patch_adds_replaces_and_removes(cloud: Cloud, ann: Tenant) -> None:
    image = new_image(cloud, ann.token, name="old", gone="x")
    response = patch(
        cloud, ann.token, image["id"],
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/a~1b~0c", "value": "slash"},
        {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/tags", "value": ["x"]},
        {"op": "add", "path": "/min_ram", "value": 5},
        {"op": "replace", "path": "/disk_format", "value": "iso"},
    )
    assert response.status_code == 200
    after = response.json()
    assert (after["name"], after["a/b~c"], after["tags"], after["min_ram"], after["disk_format"]) == (
        "new", "slash", ["x"], 5, "iso"
    )
    assert "gone" not in after
    assert show(cloud, ann.token, image["id"]) == after


def test_patch_in_the_older_media_type(cloud: Cloud, ann: Tenant) -> None:
    image = new_image(cloud, ann.token, name="old")
    changes = ({"replace": "/name", "value": "new"}, {"add": "/k", "value": "v"})
    response = patch(cloud, ann.token, image["id"], *changes, headers=OLD_PATCH)
    assert (response.status_code, response.json()["name"], response.json()["k"]) == (200, "new", "v")
    assert patch(cloud, ann.token, image["id"], {"add": "/k", "value": "w"}, headers=OLD_PATCH).status_code == 409
    assert patch(cloud, ann.token, image["id"], {"op": "add", "path": "/k"}, headers=OLD_PATCH).status_code == 400


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ({"op": "replace", "path": "/status", "value": "active"}, 403),
        ({"op": "remove", "path": "/checksum"}, 403),
        ({"op": "replace", "path": "/id", "value": "x"}, 403),
        ({"op": "add", "path": "/locations/-", "value": {"url": "file:///etc/passwd", "metadata": {}}}, 403),
        ({"op": "replace", "path": "/locations", "value": []}, 403),
        ({"op": "add", "path": "/direct_url", "value": "file:///etc/passwd"}, 403),
        ({"op": "add", "path": "/os_glance_x", "value": "x"}, 403),
        ({"op": "remove", "path": "/name"}, 403),
        ({"op": "replace", "path": "/owner", "value": "x"}, 403),
        ({"op": "add", "path": "/owner", "value": "x"}, 403),
        ({"op": "replace", "path": "/visibility", "value": "public"}, 403),
        ({"op": "replace", "path": "/absent", "value": "x"}, 409),
        ({"op": "remove", "path": "/absent"}, 409),
        ({"op": "move", "path": "/name", "value": "x"}, 400),
        ({"op": "replace", "path": "/name"}, 400),
        ({"op": "replace", "value": "x"}, 400),
        ({"path": "/name", "value": "x"}, 400),
        ({"op": "replace", "path": "name", "value": "x"}, 400),
        ({"op": "replace", "path": "/name/", "value": "x"}, 400),
        ({"op": "replace", "path": "//name", "value": "x"}, 400),
        ({"op": "replace", "path": "/na~2me", "value": "x"}, 400),
        ({"op": "add", "path": "/tags/0", "value": "x"}, 400),
        ({"op": "replace", "path": 7, "value": "x"}, 400),
        ({"op": [], "path": "/name", "value": "x"}, 400),
        ({"op": "replace", "path": "/min_ram", "value": "x"}, 400),
        ({"op": "add", "path": "/custom", "value": 7}, 400),
    ],
    ids=str,
)
def test_patch_refuses_and_changes_nothing(cloud: Cloud, ann: Tenant, operation: dict[str, Any], status: int) -> None:
    image = new_image(cloud, ann.token)
    response = patch(cloud, ann.token, image["id"], {"op": "replace", "path": "/name", "value": "half"}, operation)
    assert response.status_code == status, response.text
    assert show(cloud, ann.token, image["id"]) == image


def test_patch_media_types(cloud: Cloud, ann: Tenant) -> None:
    image = new_image(cloud, ann.token)
    for wrong in ("application/json", "application/json-patch+json", ""):
        response = patch(cloud, ann.token, image["id"], headers={"Content-Type": wrong})
        assert response.status_code == 415
        assert "v2.1-json-patch" in response.headers["Accept-Patch"]
    path = f"/image/v2/images/{image['id']}"
    for data in (b"", b"{}", b"[1]", b"nonsense"):
        assert cloud.request("PATCH", path, token=ann.token, data=data, headers=PATCH).status_code == 400


def test_format_is_fixed_once_there_is_data(cloud: Cloud, ann: Tenant) -> None:
    image = active_image(cloud, ann.token)
    change = {"op": "replace", "path": "/disk_format", "value": "qcow2"}
    response = patch(cloud, ann.token, image["id"], change)
    assert (response.status_code, "queued image" in response.text) == (403, True)


def test_a_protected_image_stays(cloud: Cloud, ann: Tenant) -> None:
    image = active_image(cloud, ann.token, protected=True)
    path = f"/image/v2/images/{image['id']}"
    refused = cloud.request("DELETE", path, token=ann.token)
    assert (refused.status_code, "protected" in refused.text) == (403, True)
    assert patch(cloud, ann.token, image["id"], {"op": "replace", "path": "/protected", "value": False}).ok
    before = len(stored_files(cloud))
    assert cloud.request("DELETE", path, token=ann.token).status_code == 204
    assert len(stored_files(cloud)) == before - 1
    for method in ("GET", "DELETE"):
        gone = cloud.request(method, path, token=ann.token)
        assert gone.status_code == 404
        assert f"No image found with ID {image['id']}" in gone.text


def test_an_empty_id_is_not_the_collection(cloud: Cloud, ann: Tenant) -> None:
    for method in ("GET", "DELETE", "PATCH"):
        assert cloud.request(method, "/image/v2/images/", token=ann.token).status_code == 404
    assert cloud.request("DELETE", "/image/v2/images", token=ann.token).status_code == 405


def test_tags(cloud: Cloud, ann: Tenant, bob: Tenant) -> None:
    image = new_image(cloud, ann.token, visibility="community")
    base = f"/image/v2/images/{image['id']}/tags"
    for _ in range(2):
        assert cloud.request("PUT", f"{base}/gold", token=ann.token).status_code == 204
    assert cloud.request("PUT", f"{base}/ünï%20c", token=ann.token).status_code == 204
    assert show(cloud, ann.token, image["id"])["tags"] == ["gold", "ünï c"]
    assert cloud.request("PUT", f"{base}/{'t' * 256}", token=ann.token).status_code == 400
    assert cloud.request("PUT", f"{base}/mine", token=bob.token).status_code == 403
    assert cloud.request("DELETE", f"{base}/gold", token=bob.token).status_code == 403
    assert cloud.request("DELETE", f"{base}/gold", token=ann.token).status_code == 204
    assert cloud.request("DELETE", f"{base}/gold", token=ann.token).status_code == 404
    assert cloud.request("PUT", f"/image/v2/images/{uuid.uuid4()}/tags/x", token=ann.token).status_code == 404


def test_deactivate_and_reactivate(cloud: Cloud, admin: str, ann: Tenant, bob: Tenant) -> None:
    image = active_image(cloud, ann.token, visibility="community")
    path = f"/image/v2/images/{image['id']}"
    assert cloud.request("POST", f"{path}/actions/deactivate", token=bob.token).status_code == 403
    for _ in range(2):
        assert cloud.request("POST", f"{path}/actions/deactivate", token=ann.token).status_code == 204
    assert show(cloud, ann.token, image["id"])["status"] == "deactivated"
    refused = cloud.request("GET", f"{path}/file", token=ann.token)
    assert (refused.status_code, "deactivated" in refused.text) == (403, True)
    assert cloud.request("GET", f"{path}/file", token=admin).status_code == 200
    assert cloud.request("POST", f"{path}/actions/reactivate", token=ann.token).status_code == 204
    assert cloud.request("GET", f"{path}/file", token=ann.token).status_code == 200
    queued = new_image(cloud, ann.token)
    for action in ("deactivate", "reactivate"):
        answer = cloud.request("POST", f"/image/v2/images/{queued['id']}/actions/{action}", token=ann.token)
        assert answer.status_code == 403


def test_schemas_describe_every_attribute(cloud: Cloud, ann: Tenant) -> None:
    image = active_image(cloud, ann.token)
    schema = cloud.request("GET", "/image/v2/schemas/image", token=ann.token).json()
    assert schema["name"] == "image"
    assert set(image) <= set(schema["properties"])
    assert schema["properties"]["disk_format"]["enum"][:2] == [None, "ami"]
    assert schema["additionalProperties"] == {"type": "string"}
    for name in ("images", "member", "members"):
        assert cloud.request("GET", f"/image/v2/schemas/{name}", token=ann.token).json()["name"] == name


def test_info(cloud: Cloud, admin: str, ann: Tenant) -> None:
    stores = cloud.request("GET", "/image/v2/info/stores", token=ann.token).json()
    assert stores == {"stores": [{"id": "file", "default": "true"}]}
    assert cloud.request("GET", "/image/v2/info/stores/detail", token=ann.token).status_code == 403
    detail = cloud.request("GET", "/image/v2/info/stores/detail", token=admin).json()["stores"][0]
    assert detail["type"] == "file"
    methods = cloud.request("GET", "/image/v2/info/import", token=ann.token).json()
    assert methods["import-methods"]["value"] == []
    usage = cloud.request("GET", "/image/v2/info/usage", token=ann.token).json()["usage"]
    assert usage["image_count_total"]["usage"] > 0
    assert set(usage["image_size_total"]) == {"limit", "usage"}
