"""What every service says to requests that are wrong: the status, the body's shape and the words clients know."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.api.compute.actors import Actor, Shop
from tests.cloud import Cloud

COLLECTIONS = {  # service -> a collection that takes a POST
    "identity": "/identity/v3/projects",
    "image": "/image/v2/images",
    "placement": "/placement/resource_providers",
    "compute": "/compute/v2.1/flavors",
    "network": "/network/v2.0/networks",
}
LONGEST_BODY = 1_048_576
UNKNOWN = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def shop(cloud: Cloud) -> Shop:
    return Shop(cloud)


def html(status: int) -> Callable[[Any], bool]:
    """Whether a body is a page with that status in its title, as the image service's faults are."""
    return lambda answer: answer.headers["Content-Type"].startswith("text/html") and f"<title>{status} " in answer.text


def error(status: int) -> Callable[[Any], bool]:
    return lambda answer: set(answer.json()["error"]) == {"code", "title", "message"} and (
        answer.json()["error"]["code"] == status
    )


def errors(status: int) -> Callable[[Any], bool]:
    return lambda answer: answer.json()["errors"][0]["status"] == status and (
        {"title", "detail", "code", "request_id"} < set(answer.json()["errors"][0])
    )


def nova(name: str, status: int) -> Callable[[Any], bool]:
    return lambda answer: list(answer.json()) == [name] and answer.json()[name]["code"] == status


def neutron(kind: str) -> Callable[[Any], bool]:
    return lambda answer: answer.json()["NeutronError"]["type"] == kind


SHAPES: dict[str, dict[int, Callable[[Any], bool]]] = {
    "identity": {status: error(status) for status in (400, 401, 403, 404, 413)},
    "image": {status: html(status) for status in (400, 403, 404, 413)} | {401: error(401)},
    "placement": {status: errors(status) for status in (400, 401, 403, 404, 413)},
    "compute": {
        400: nova("badRequest", 400), 401: nova("unauthorized", 401), 403: nova("forbidden", 403),
        404: nova("itemNotFound", 404), 413: nova("overLimit", 413),
    },
    "network": {
        400: neutron("HTTPBadRequest"), 401: error(401), 403: neutron("PolicyNotAuthorized"),
        404: neutron("HTTPNotFound"), 413: neutron("HTTPRequestEntityTooLarge"),
    },
}  # fmt: skip


def refused(service: str, answer: Any, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert SHAPES[service][status](answer), (answer.headers["Content-Type"], answer.text)
    assert answer.headers["X-Openstack-Request-Id"].startswith("req-")


@pytest.mark.parametrize("service", COLLECTIONS)
@pytest.mark.parametrize("raw", [b'{"a":', b"[1]", b"", b"{} {}", b'{"\xff": 1}', b"[" * 100_000, b"\0", b'"text"'])
def test_malformed_json(shop: Shop, service: str, raw: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = shop.cloud.request("POST", COLLECTIONS[service], token=shop.admin.token, data=raw, headers=headers)
    refused(service, answer, 400)


@pytest.mark.parametrize("service", COLLECTIONS)
def test_oversized_bodies_announced_or_not(shop: Shop, service: str) -> None:
    huge = b'{"name": "' + b"x" * LONGEST_BODY + b'"}'
    for data in (huge, iter([huge[: LONGEST_BODY // 2], huge[LONGEST_BODY // 2 :]])):
        answer = shop.cloud.request("POST", COLLECTIONS[service], token=shop.admin.token, data=data)
        refused(service, answer, 413)


@pytest.mark.parametrize("service", COLLECTIONS)
@pytest.mark.parametrize("token", [None, "", "nonsense", "gAAAAA" + "b" * 180, "x" * 10_000])
def test_wrong_tokens(shop: Shop, service: str, token: str | None) -> None:
    answer = shop.cloud.request("GET", COLLECTIONS[service], token=token)
    refused(service, answer, 401)
    assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{shop.cloud.url}/identity"'


def test_a_token_without_a_project_gets_nothing_of_projects(shop: Shop) -> None:
    token = shop.cloud.token("admin", shop.cloud.admin_password, None)
    for service in ("identity", "image", "placement", "network"):
        refused(service, shop.cloud.request("GET", COLLECTIONS[service], token=token), 403)
    refused("compute", shop.cloud.request("GET", "/compute/v2.1/servers", token=token), 403)


def test_what_another_project_has_is_not_there(shop: Shop) -> None:
    server = shop.boot("mine", networks="none")
    shop.admin.until_status(server, "ACTIVE")
    _, other = shop.cloud.new_project("stranger")
    refused("compute", shop.cloud.request("GET", f"/compute/v2.1/servers/{server}", token=other), 404)
    gone = shop.cloud.request("GET", f"/network/v2.0/networks/{shop.network}", token=other)
    assert (gone.status_code, neutron("NetworkNotFound")(gone)) == (404, True)
    project = shop.cloud.request("GET", f"/identity/v3/projects/{shop.user.project_id}", token=other)
    refused("identity", project, 403)
    shop.user.delete(server)


@pytest.mark.parametrize("service", COLLECTIONS)
def test_unknown_paths(shop: Shop, service: str) -> None:
    path = COLLECTIONS[service].rpartition("/")[0] + "/nothing-here"
    refused(service, shop.cloud.request("GET", path, token=shop.admin.token), 404)


@pytest.mark.parametrize("declared", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
def test_bodies_declared_as_something_else(shop: Shop, declared: str) -> None:
    headers = {"Content-Type": declared}
    body = msgspec.json.encode({"flavor": {"name": "declared", "ram": 1, "vcpus": 1, "disk": 0}})
    answer = shop.cloud.request("POST", COLLECTIONS["compute"], token=shop.admin.token, data=body, headers=headers)
    assert (answer.status_code, nova("badMediaType", 415)(answer)) == (415, True)
    path = f"/compute/v2.1/servers/{UNKNOWN}/action"
    answer = shop.cloud.request("POST", path, token=shop.admin.token, data=b'{"reboot": {}}', headers=headers)
    assert (answer.status_code, nova("badMediaType", 415)(answer)) == (415, True)
    answer = shop.cloud.request(
        "POST", COLLECTIONS["placement"], token=shop.admin.token, data=b'{"name": "declared"}', headers=headers
    )
    assert (answer.status_code, errors(415)(answer)) == (415, True)
    assert answer.json()["errors"][0]["detail"] == f"The media type {declared} is not supported, use application/json"
    utf8 = {"Content-Type": "application/json; charset=UTF-8"}
    good = shop.cloud.request("POST", COLLECTIONS["compute"], token=shop.admin.token, data=b"{}", headers=utf8)
    assert good.status_code == 400


@pytest.mark.parametrize(
    ("service", "header", "status", "answered"),
    [
        ("compute", {"OpenStack-API-Version": "compute latest"}, 200, "2.104"),
        ("compute", {"X-OpenStack-Nova-API-Version": "latest"}, 200, "2.104"),
        ("compute", {"X-OpenStack-Nova-API-Version": "2.50"}, 200, "2.50"),
        ("compute", {"OpenStack-API-Version": "compute 2.60", "X-OpenStack-Nova-API-Version": "2.50"}, 200, "2.60"),
        ("compute", {"OpenStack-API-Version": "placement 1.20, compute 2.90"}, 200, "2.90"),
        ("compute", {"OpenStack-API-Version": "volume 3.50"}, 200, "2.1"),
        ("compute", {}, 200, "2.1"),
        ("compute", {"X-OpenStack-Nova-API-Version": "2.500"}, 406, None),
        ("compute", {"OpenStack-API-Version": "compute 1.0"}, 406, None),
        ("compute", {"OpenStack-API-Version": "compute 2.01"}, 400, None),
        ("placement", {"OpenStack-API-Version": "placement latest"}, 200, "1.39"),
        ("placement", {}, 200, "1.0"),
        ("placement", {"OpenStack-API-Version": "placement 1.999"}, 406, None),
    ],
)
def test_microversions(shop: Shop, service: str, header: dict[str, str], status: int, answered: str | None) -> None:
    path = {"compute": "/compute/v2.1/servers", "placement": COLLECTIONS["placement"]}[service]
    answer = shop.cloud.request("GET", path, token=shop.admin.token, headers=header)
    assert answer.status_code == status, answer.text
    if answered is not None:
        assert answer.headers["OpenStack-API-Version"] == f"{service} {answered}"
        if service == "compute":
            assert answer.headers["X-OpenStack-Nova-API-Version"] == answered
            assert answer.headers["Vary"] == "OpenStack-API-Version, X-OpenStack-Nova-API-Version"
    elif status == 406 and service == "compute":
        fault = answer.json()["computeFault"]
        assert fault["code"] == 406
        assert fault["message"].endswith("is not supported by the API. Minimum is 2.1 and maximum is 2.104.")
    elif status == 406:
        assert (answer.json()["errors"][0]["min_version"], answer.json()["errors"][0]["max_version"]) == ("1.0", "1.39")


@pytest.mark.parametrize(("resource", "limit"), [("instances", 0), ("cores", 0), ("ram", 63)])
def test_quotas_of_servers(shop: Shop, resource: str, limit: int) -> None:
    project, token = shop.cloud.new_project(f"few-{resource}")
    few = Actor(shop.cloud, token, project)
    assert shop.admin.ask("PUT", f"/os-quota-sets/{project}", {"quota_set": {resource: limit}}).status_code == 200
    answer = shop.try_boot("x", few, networks="none")
    refused("compute", answer, 403)
    asked = 64 if resource == "ram" else 1
    assert answer.json()["forbidden"]["message"] == (
        f"Quota exceeded for {resource}: Requested {asked}, but already used 0 of {limit} {resource}"
    )


@pytest.mark.parametrize(
    ("resource", "path", "body"),
    [
        ("network", "networks", {"network": {}}),
        ("subnet", "subnets", {"subnet": {"ip_version": 4, "cidr": "10.7.0.0/24"}}),
        ("port", "ports", {"port": {}}),
        ("router", "routers", {"router": {}}),
        ("floatingip", "floatingips", {"floatingip": {}}),
        ("security_group", "security-groups", {"security_group": {"name": "more"}}),
    ],
)
def test_quotas_of_networks(shop: Shop, resource: str, path: str, body: dict[str, Any]) -> None:
    project, token = shop.cloud.new_project(f"none-of-{resource.replace('_', '-')}")
    few = Actor(shop.cloud, token, project)
    network = few.network("POST", "/networks", {"network": {}}).json()["network"]["id"]
    values = next(iter(body.values()))
    if resource in ("subnet", "port"):
        values = values | {"network_id": network}
    if resource == "floatingip":
        made = shop.admin.network("POST", "/networks", {"network": {"router:external": True}})
        outside = made.json()["network"]["id"]
        subnet = {"network_id": outside, "ip_version": 4, "cidr": "203.0.113.0/24"}
        assert shop.admin.network("POST", "/subnets", {"subnet": subnet}).status_code == 201
        values = {"floating_network_id": outside}
    none = shop.admin.network("PUT", f"/quotas/{project}", {"quota": {resource: 0}})
    assert none.status_code == 200, none.text
    answer = few.network("POST", f"/{path}", {next(iter(body)): values})
    assert answer.status_code == 409, answer.text
    assert answer.json()["NeutronError"] == {
        "type": "OverQuota", "message": f"Quota exceeded for resources: ['{resource}'].", "detail": "",
    }  # fmt: skip


def test_a_virtual_disk_larger_than_the_flavors(shop: Shop, tmp_path: Path) -> None:
    disk = tmp_path / "large.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "2G"], check=True, timeout=30)
    body = {"name": "large", "disk_format": "qcow2", "container_format": "bare"}
    image = shop.cloud.request("POST", "/image/v2/images", token=shop.user.token, json=body).json()["id"]
    headers = {"Content-Type": "application/octet-stream"}
    path = f"/image/v2/images/{image}/file"
    stored = shop.cloud.request("PUT", path, token=shop.user.token, data=disk.read_bytes(), headers=headers)
    assert stored.status_code == 204
    answer = shop.try_boot("x", imageRef=image)
    refused("compute", answer, 400)
    assert "disk is too small for requested image" in answer.json()["badRequest"]["message"]


@pytest.mark.parametrize(
    ("cidr", "kind"),
    [("10.0.0.0/99", "HTTPBadRequest"), ("here", "HTTPBadRequest"), ("10.0.0.0/8/8", "HTTPBadRequest")],
)
def test_bad_cidrs(shop: Shop, cidr: str, kind: str) -> None:
    body = {"subnet": {"network_id": shop.network, "ip_version": 4, "cidr": cidr}}
    answer = shop.user.network("POST", "/subnets", body)
    assert (answer.status_code, answer.json()["NeutronError"]["type"]) == (400, kind)
    assert cidr in answer.json()["NeutronError"]["message"]


def test_overlapping_subnets(shop: Shop) -> None:
    body = {"subnet": {"network_id": shop.network, "ip_version": 4, "cidr": "10.20.0.128/25"}}
    answer = shop.user.network("POST", "/subnets", body)
    fault = answer.json()["NeutronError"]
    assert (answer.status_code, fault["type"]) == (400, "InvalidInput")
    assert fault["message"].startswith("Invalid input for operation: Requested subnet with cidr: 10.20.0.128/25")
    assert "overlaps with another subnet" in fault["message"]
