"""Users, their passwords, groups and members."""

from __future__ import annotations

import pytest

from cloud import Cloud
from tests.api.identity.people import PASSWORD, V3, Admin, fresh, login, on

SERVICES = ("identity",)


def test_user_life(cloud: Cloud, admin: Admin) -> None:
    user = admin.user(email="a@example.org", description="somebody")
    path = f"/users/{user['id']}"
    assert user["links"]["self"] == cloud.url + V3 + path
    assert (user["email"], user["enabled"], user["password_expires_at"]) == ("a@example.org", True, None)
    assert "password" not in user
    changed = admin.call("PATCH", path, 200, {"user": {"name": fresh("new"), "email": "b@example.org"}})["user"]
    assert changed["email"] == "b@example.org"
    assert changed["description"] == "somebody"
    assert login(cloud, user).status_code == 201
    admin.call("PATCH", path, 400, {"user": {"domain_id": "elsewhere"}})
    admin.call("POST", "/users", 409, {"user": {"name": changed["name"]}})
    admin.call("DELETE", path, 204)
    assert login(cloud, user).status_code == 401
    admin.call("GET", path, 404)


@pytest.mark.parametrize("fields", [
    {"name": ""}, {"name": "x" * 256}, {"name": None}, {"enabled": 1}, {"password": 7}, {"options": {"what": True}},
    {"options": {"lock_password": "yes"}}, {"default_project_id": ""},
])
def test_bad_users_are_400(admin: Admin, fields: dict[str, object]) -> None:
    admin.call("POST", "/users", 400, {"user": {"name": fresh("bad")} | fields})


@pytest.mark.parametrize("raw", ["", "{", "[]", '{"user": []}', '{"person": {}}', '{"user": {"name": "\\ud800"}}'])
def test_malformed_bodies_are_400(cloud: Cloud, admin: Admin, raw: str) -> None:
    answer = cloud.request("POST", V3 + "/users", token=admin.token, data=raw)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()["error"]) == {"code", "title", "message"}


def test_changing_ones_own_password(cloud: Cloud, admin: Admin) -> None:
    user = admin.user()
    path = f"{V3}/users/{user['id']}/password"

    def change(original: str, new: str) -> int:
        body = {"user": {"original_password": original, "password": new}}
        return cloud.request("POST", path, json=body).status_code

    assert change("wrong", "next") == 401
    assert change(PASSWORD, PASSWORD) == 400
    assert change(PASSWORD, "next") == 204
    assert login(cloud, user, password="next").status_code == 201
    admin.call("PATCH", f"/users/{user['id']}", 200, {"user": {"options": {"lock_password": True}}})
    assert change("next", "another") == 403
    admin.call("PATCH", f"/users/{user['id']}", 200, {"user": {"enabled": False}})
    assert change("next", "another") == 401


def test_group_life(cloud: Cloud, admin: Admin) -> None:
    user, group, project = admin.user(), admin.group(description="team"), admin.project()
    path = f"/groups/{group['id']}"
    member = f"{path}/users/{user['id']}"
    admin.call("GET", member, 404)
    admin.call("PUT", member, 204)
    admin.call("PUT", member, 204)
    assert cloud.request("HEAD", V3 + member, token=admin.token).status_code == 204
    assert [row["id"] for row in admin.call("GET", path + "/users", 200)["users"]] == [user["id"]]
    assert [row["id"] for row in admin.call("GET", f"/users/{user['id']}/groups", 200)["groups"]] == [group["id"]]
    admin.grant(f"projects/{project['id']}", f"groups/{group['id']}", "member")
    found = admin.call("GET", f"/users/{user['id']}/projects", 200)["projects"]
    assert [row["id"] for row in found] == [project["id"]]
    roles = login(cloud, user, on(project)).json()["token"]["roles"]
    assert [role["name"] for role in roles] == ["member", "reader"]
    admin.call("DELETE", member, 204)
    admin.call("DELETE", member, 404)
    changed = admin.call("PATCH", path, 200, {"group": {"name": fresh("renamed")}})["group"]
    assert changed["description"] == "team"
    admin.call("POST", "/groups", 409, {"group": {"name": changed["name"]}})
    admin.call("DELETE", path, 204)
    admin.call("GET", path, 404)
    admin.call("GET", "/groups?name=nothing", 200)
