"""Listings show what the caller may see, filtered, ordered and in pages that neither lose nor repeat."""

from __future__ import annotations

from typing import Any

import pytest

from cloud import Cloud

from .conftest import Tenant
from .image_api import active_image, new_image

SERVICES = ("identity", "image")
SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")


def names(cloud: Cloud, token: str, query: str = "") -> list[str]:
    response = cloud.request("GET", f"/image/v2/images?{query}", token=token)
    assert response.status_code == 200, response.text
    return [image["name"] for image in response.json()["images"]]


@pytest.fixture(scope="module")
def stock(cloud: Cloud, admin: str, ann: Tenant, bob: Tenant) -> dict[str, dict[str, Any]]:
    """Images of three owners; newest last."""
    made = [
        active_image(cloud, ann.token, b"x" * 10, name="alpha", tags=["t1", "t2"], os_distro="debian"),
        active_image(cloud, ann.token, b"x" * 20, name="beta", tags=["t1"]),
        new_image(cloud, ann.token, name="gamma,1", disk_format="qcow2", protected=True, os_distro="alpine"),
        new_image(cloud, ann.token, name="hidden", os_hidden=True),
        new_image(cloud, ann.token, name="anns-community", visibility="community"),
        new_image(cloud, bob.token, name="bobs-private"),
        new_image(cloud, bob.token, name="bobs-community", visibility="community"),
        new_image(cloud, bob.token, name="bobs-shared", visibility="shared"),
        new_image(cloud, admin, name="public", visibility="public"),
    ]
    return {image["name"]: image for image in made}


def test_default_view(cloud: Cloud, admin: str, ann: Tenant, bob: Tenant, stock: dict[str, Any]) -> None:
    assert names(cloud, ann.token) == ["public", "anns-community", "gamma,1", "beta", "alpha"]
    assert names(cloud, bob.token) == ["public", "bobs-shared", "bobs-community", "bobs-private"]
    assert set(names(cloud, admin)) == set(stock) - {"anns-community", "bobs-community", "hidden"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=alpha", ["alpha"]),
        ("name=in:alpha,beta", ["beta", "alpha"]),
        ('name=in:"gamma,1",beta', ["gamma,1", "beta"]),
        ("status=queued&owner={ann}", ["anns-community", "gamma,1"]),
        ("status=in:active,saving", ["beta", "alpha"]),
        ("visibility=private", ["gamma,1", "beta", "alpha"]),
        ("visibility=public", ["public"]),
        ("visibility=community", ["bobs-community", "anns-community"]),
        ("visibility=all", ["public", "bobs-community", "anns-community", "gamma,1", "beta", "alpha"]),
        ("visibility=shared", []),
        ("owner={bob}", []),
        ("tag=t1", ["beta", "alpha"]),
        ("tag=t1&tag=t2", ["alpha"]),
        ("disk_format=qcow2", ["gamma,1"]),
        ("container_format=in:bare,ami&tag=t1", ["beta", "alpha"]),
        ("size_min=11", ["beta"]),
        ("size_min=10&size_max=19", ["alpha"]),
        ("size_max=9", []),
        ("protected=True", ["gamma,1"]),
        ("os_hidden=true", ["hidden"]),
        ("os_distro=debian", ["alpha"]),
        ("os_distro=debian&size_max=5", []),
        ("unknown_property=x", []),
        ("created_at=lt:2020-01-01T00:00:00Z", []),
        ("created_at=gte:2020-01-01T00:00:00Z&tag=t1", ["beta", "alpha"]),
        ("updated_at=neq:2020-01-01T00:00:00Z&tag=t1", ["beta", "alpha"]),
        ("id={alpha}", ["alpha"]),
    ],
)
def test_filters(
    cloud: Cloud, ann: Tenant, bob: Tenant, stock: dict[str, Any], query: str, expected: list[str]
) -> None:
    query = query.format(ann=ann.project_id, bob=bob.project_id, alpha=stock["alpha"]["id"])
    assert names(cloud, ann.token, query) == expected


def test_times_compare_as_they_are_shown(cloud: Cloud, ann: Tenant, stock: dict[str, Any]) -> None:
    shown = stock["alpha"]["created_at"]
    for operator, found in (("eq:", True), ("", True), ("gte:", True), ("lte:", True), ("gt:", False), ("lt:", False),
                            ("neq:", False)):
        assert ("alpha" in names(cloud, ann.token, f"created_at={operator}{shown}")) is found


@pytest.mark.parametrize(
    "query",
    [
        "limit=x", "limit=-1", "limit=1.5", "marker=nothing", "sort_key=nonsense", "sort_dir=up", "sort=name:up",
        "sort=nonsense", "sort=name&sort_key=name", "sort_key=name&sort_key=id&sort_dir=asc&sort_dir=asc&sort_dir=asc",
        "visibility=secret", "member_status=maybe", "size_min=x", "size_max=-1", "protected=perhaps", "os_hidden=2",
        "created_at=lt:yesterday", "name=in:", "name=in:a,,b", "changes-since=2020-01-01T00:00:00Z",
        "min_ram=99999999999999999999999", "&".join(f"p{n}=x" for n in range(65)), "limit=٣",
    ],
)
def test_bad_queries_are_400(cloud: Cloud, ann: Tenant, query: str) -> None:
    response = cloud.request("GET", f"/image/v2/images?{query}", token=ann.token)
    assert response.status_code == 400, response.text


def test_sorting(cloud: Cloud, ann: Tenant, stock: dict[str, Any]) -> None:
    by_name = ["alpha", "anns-community", "beta", "gamma,1", "public"]
    assert names(cloud, ann.token, "sort_key=name&sort_dir=asc") == by_name
    assert names(cloud, ann.token, "sort=name:asc") == by_name
    assert names(cloud, ann.token, "sort_key=name") == by_name[::-1]
    assert names(cloud, ann.token, "sort_dir=asc") == names(cloud, ann.token)[::-1]
    assert names(cloud, ann.token, "sort=status:asc,name:desc") == ["beta", "alpha", "public", "gamma,1",
                                                                    "anns-community"]
    assert names(cloud, ann.token, "sort_key=size&sort_key=name&sort_dir=desc&sort_dir=asc")[:2] == ["beta", "alpha"]


@pytest.mark.parametrize("key", SORT_KEYS)
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_pages_lose_and_repeat_nothing(
    cloud: Cloud, admin: str, stock: dict[str, Any], key: str, direction: str
) -> None:
    path = f"/v2/images?limit=2&visibility=all&sort={key}:{direction}"
    whole = names(cloud, admin, f"visibility=all&sort={key}:{direction}")
    seen: list[str] = []
    while path:
        page = cloud.request("GET", "/image" + path, token=admin).json()
        assert 0 < len(page["images"]) <= 2
        assert page["schema"] == "/v2/schemas/images"
        assert page["first"].startswith("/v2/images?limit=2&")
        assert "marker" not in page["first"]
        seen += [image["name"] for image in page["images"]]
        path = page.get("next")
    assert seen == whole
    assert len(whole) == 8


def test_limits(cloud: Cloud, admin: str, ann: Tenant, stock: dict[str, Any]) -> None:
    assert names(cloud, admin, "limit=0") == []
    body = cloud.request("GET", "/image/v2/images?limit=1000000", token=ann.token).json()
    assert "next" not in body
    foreign = stock["bobs-private"]["id"]
    assert cloud.request("GET", f"/image/v2/images?marker={foreign}", token=ann.token).status_code == 400


def test_the_default_page_is_bounded(cloud: Cloud, bob: Tenant, stock: dict[str, Any]) -> None:
    for number in range(26):
        new_image(cloud, bob.token, name=f"many-{number}")
    body = cloud.request("GET", "/image/v2/images", token=bob.token).json()
    assert len(body["images"]) == 25
    assert body["next"] == f"/v2/images?marker={body['images'][-1]['id']}"
