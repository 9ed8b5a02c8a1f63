"""Who may ask for what, versions, and the shape of errors."""

from __future__ import annotations

import pytest

from pileus.kernel.http import PUBLIC, Route
from pileus.services.placement.service import SERVICE

from .client import Placement, new_id

SERVICES = ("identity", "placement")
PRIVATE = [route for route in SERVICE.routes if route.policy != PUBLIC]


def test_versions_need_no_token(placement: Placement) -> None:
    answer = Placement(placement.cloud, None).send("GET", "/", version=None)
    assert answer.status_code == 200
    (version,) = answer.json()["versions"]
    assert (version["id"], version["min_version"], version["max_version"]) == ("v1.0", "1.0", "1.39")
    assert answer.headers["OpenStack-API-Version"] == "placement 1.0"


def test_versions_out_of_range_are_not_acceptable(placement: Placement) -> None:
    response = placement.send("GET", "/resource_providers", version="1.40")
    assert response.status_code == 406
    (fault,) = response.json()["errors"]
    assert (fault["min_version"], fault["max_version"]) == ("1.0", "1.39")
    assert placement.error("GET", "/resource_providers", version="pony")[0] == 400
    assert placement.send("GET", "/resource_providers", version="latest").headers["OpenStack-API-Version"] == (
        "placement 1.39"
    )


@pytest.mark.parametrize("route", PRIVATE, ids=lambda route: f"{route.method} {route.path} {route.until or ''}")
def test_members_of_other_projects_and_strangers_are_kept_out(
    placement: Placement, member: tuple[str, Placement], route: Route
) -> None:
    path = route.path.format(uuid=new_id(), consumer_uuid=new_id(), name="CUSTOM_X", resource_class="VCPU")
    if path == "/usages":
        path += f"?project_id={new_id()}"
    version = route.until or "1.39"
    assert Placement(placement.cloud, None).error(route.method, path, version=version)[0] == 401
    assert Placement(placement.cloud, "bogus").error(route.method, path, version=version)[0] == 401
    assert member[1].error(route.method, path, version=version)[0] == 403


def test_readers_see_their_own_project_usages(member: tuple[str, Placement]) -> None:
    project, api = member
    assert api.ok("GET", f"/usages?project_id={project}") == {"usages": {}}


def test_errors_have_the_documented_shape(placement: Placement) -> None:
    assert placement.error("GET", "/nowhere")[:2] == (404, "placement.undefined_code")
    assert placement.error("GET", f"/resource_providers/{new_id()}")[:2] == (404, "placement.undefined_code")
    response = placement.send("DELETE", "/resource_providers")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, POST")
    raw = placement.cloud.request(
        "POST", "/placement/resource_providers", token=placement.token, data=b"{",
        headers={"Content-Type": "application/json"},
    )
    assert raw.status_code == 400
    assert raw.json()["errors"][0]["detail"].startswith("Malformed JSON")
    huge = placement.cloud.request("POST", "/placement/resource_providers", token=placement.token, data=b" " * 200_000)
    assert huge.status_code == 413
