"""What a start makes, and that the next start changes nothing it should not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from cloud import Cloud
from pileus.kernel.process.manifest import Service
from tests.api.identity.people import V3, Admin
from tests.unit.kernel import toy

# A sibling with its own path: it validates tokens through identity, as every service but identity does.
BOOKS: Service = msgspec.structs.replace(
    toy.SERVICE, authenticate=None, aliases={"library": "library"}, catalog_path="/books/v1/$(project_id)s"
)


def start(state_dir: Path) -> Cloud:
    running = Cloud(state_dir, services=("identity",))
    running.services = (*running.services, BOOKS)
    return running


def everything(admin: Admin) -> dict[str, Any]:
    paths = ("/domains", "/projects", "/users", "/roles", "/groups", "/services", "/regions", "/role_assignments",
             "/role_inferences", "/endpoints")
    found = {path: admin.call("GET", path, 200) for path in paths}
    for listing in found.values():
        listing.pop("links", None)
        for row in next(iter(listing.values())):
            row.pop("links", None)
            row.pop("url", None)
    # Links inside inferences hold the port, which differs between the two runs.
    found["/role_inferences"] = [item["prior_role"]["name"] for item in found["/role_inferences"]["role_inferences"]]
    return found


def test_first_rows(tmp_path: Path) -> None:
    with start(tmp_path) as cloud:
        admin = Admin(cloud)
        assert {row["name"] for row in admin.call("GET", "/roles", 200)["roles"]} == {
            "admin", "manager", "member", "reader", "service",
        }
        assert {row["name"] for row in admin.call("GET", "/users", 200)["users"]} == {"admin", "identity", "books"}
        shown = admin.call("GET", "/role_assignments?include_names=1", 200)["role_assignments"]
        named = {
            (item["user"]["name"], item["scope"].get("project", {}).get("name", "system"), item["role"]["name"])
            for item in shown
        }
        assert named == {
            ("admin", "admin", "admin"), ("admin", "system", "admin"),
            ("identity", "service", "admin"), ("identity", "service", "service"),
            ("books", "service", "admin"), ("books", "service", "service"),
        }
        assert cloud.node is not None
        password = cloud.node.service_password("books")
        answer = cloud.request("GET", V3 + "/auth/catalog", token=cloud.token("books", password, "service"))
        urls = {entry["type"]: entry["endpoints"][0]["url"] for entry in answer.json()["catalog"]}
        assert set(urls) == {"identity", "books", "library"}
        assert urls["library"] == urls["books"]
        assert urls["books"].startswith(cloud.url + "/books/v1/")
        assert urls["identity"] == cloud.url + "/identity/v3"


def test_the_next_start_keeps_everything_but_moves_the_catalogue(tmp_path: Path) -> None:
    with start(tmp_path) as cloud:
        admin = Admin(cloud)
        before, token = everything(admin), admin.token
        mine = next(row for row in admin.call("GET", "/users", 200)["users"] if row["name"] == "admin")
        old_url = cloud.url
    again = start(tmp_path)
    with again:
        assert again.url != old_url
        admin = Admin(again)
        assert everything(admin) == before
        assert admin.call("GET", f"/users/{mine['id']}", 200, token=token)["user"]["name"] == "admin"
        urls = {row["url"] for row in admin.call("GET", "/endpoints", 200)["endpoints"]}
        assert all(url.startswith(again.url) for url in urls)
        admin.call("PATCH", f"/users/{mine['id']}", 200, {"user": {"password": "the operator's own"}})
    with start(tmp_path) as third:
        assert third.token("admin", "the operator's own", "admin")


def test_services_keep_their_login_when_somebody_changes_it(tmp_path: Path) -> None:
    with start(tmp_path) as cloud:
        admin = Admin(cloud)
        (user,) = admin.call("GET", "/users?name=books", 200)["users"]
        admin.call("PATCH", f"/users/{user['id']}", 200, {"user": {"password": "odd"}})
    with start(tmp_path) as cloud:
        assert cloud.node is not None
        assert cloud.token("books", cloud.node.service_password("books"), "service")


def test_a_revoked_token_is_dead_in_other_services_at_once(tmp_path: Path) -> None:
    with start(tmp_path) as cloud:
        _, token = cloud.new_project("someone")
        path = "/books/v1/books/1"

        def burn() -> int:
            return cloud.request("POST", path + "/action", token=token, json={"burn": {}}).status_code

        for _ in range(2):  # the second answer comes from the service's memory of the token
            assert cloud.request("GET", path, token=token).status_code == 200
            assert burn() == 403
        admin = Admin(cloud)
        (user,) = admin.call("GET", "/users?name=someone", 200)["users"]
        (project,) = admin.call("GET", "/projects?name=someone", 200)["projects"]
        admin.grant(f"projects/{project['id']}", f"users/{user['id']}", "admin")
        assert burn() == 202
        admin.call("PATCH", f"/users/{user['id']}", 200, {"user": {"enabled": False}})
        assert cloud.request("GET", path, token=token).status_code == 401
        forged = {"X-Roles": "admin", "X-User-Id": user["id"], "X-Project-Id": project["id"]}
        assert cloud.request("GET", path, headers=forged).status_code == 401
