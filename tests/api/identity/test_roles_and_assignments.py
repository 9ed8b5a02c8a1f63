"""Roles, what they imply, grants of every kind, and the listing of assignments."""

from __future__ import annotations

from typing import Any

from cloud import Cloud
from tests.api.identity.people import V3, Admin, fresh, login, on

SERVICES = ("identity",)


def assignments(admin: Admin, query: str) -> list[dict[str, Any]]:
    return admin.call("GET", "/role_assignments?" + query, 200)["role_assignments"]


def test_role_life(admin: Admin) -> None:
    role = admin.role(description="d")
    path = f"/roles/{role['id']}"
    assert (role["domain_id"], role["description"], role["options"]) == (None, "d", {})
    changed = admin.call("PATCH", path, 200, {"role": {"name": fresh("r")}})["role"]
    admin.call("POST", "/roles", 409, {"role": {"name": changed["name"]}})
    admin.call("POST", "/roles", 400, {"role": {}})
    domain = admin.domain()
    special = admin.role(name=changed["name"], domain_id=domain["id"])
    listed = {row["id"] for row in admin.call("GET", "/roles", 200)["roles"]}
    assert role["id"] in listed
    assert special["id"] not in listed
    (only,) = admin.call("GET", f"/roles?domain_id={domain['id']}", 200)["roles"]
    assert only["id"] == special["id"]
    admin.call("DELETE", path, 204)
    admin.call("GET", path, 404)


def test_implied_roles(cloud: Cloud, admin: Admin) -> None:
    top, middle, low = admin.role(), admin.role(), admin.role()
    for prior, implied in ((top, middle), (middle, low)):
        admin.call("PUT", f"/roles/{prior['id']}/implies/{implied['id']}", 201)
    path = f"/roles/{top['id']}/implies/{middle['id']}"
    shown = admin.call("GET", path, 200)["role_inference"]
    assert (shown["prior_role"]["name"], shown["implies"]["name"]) == (top["name"], middle["name"])
    assert cloud.request("HEAD", V3 + path, token=admin.token).status_code == 204
    (implied,) = admin.call("GET", f"/roles/{top['id']}/implies", 200)["role_inference"]["implies"]
    assert implied["id"] == middle["id"]
    inferences = admin.call("GET", "/role_inferences", 200)["role_inferences"]
    (mine,) = [item for item in inferences if item["prior_role"]["id"] == top["id"]]
    assert [role["id"] for role in mine["implies"]] == [middle["id"]]
    admin.call("PUT", f"/roles/{low['id']}/implies/{top['id']}", 400)
    admin.call("PUT", f"/roles/{low['id']}/implies/{low['id']}", 400)
    admin.call("PUT", f"/roles/{low['id']}/implies/{admin.role_id('admin')}", 400)
    user, project = admin.user(), admin.project()
    admin.grant(f"projects/{project['id']}", f"users/{user['id']}", top["name"])
    names = {role["name"] for role in login(cloud, user, on(project)).json()["token"]["roles"]}
    assert names == {top["name"], middle["name"], low["name"]}
    admin.call("DELETE", f"/roles/{middle['id']}/implies/{low['id']}", 204)
    admin.call("DELETE", f"/roles/{middle['id']}/implies/{low['id']}", 404)
    names = {role["name"] for role in login(cloud, user, on(project)).json()["token"]["roles"]}
    assert names == {top["name"], middle["name"]}


def test_a_domain_role_counts_by_what_it_implies(cloud: Cloud, admin: Admin) -> None:
    domain = admin.domain()
    project, user = admin.project(domain_id=domain["id"]), admin.user()
    special = admin.role(domain_id=domain["id"])
    admin.call("PUT", f"/roles/{special['id']}/implies/{admin.role_id('reader')}", 201)
    elsewhere = admin.project()
    admin.call("PUT", f"/projects/{elsewhere['id']}/users/{user['id']}/roles/{special['id']}", 400)
    admin.call("PUT", f"/projects/{project['id']}/users/{user['id']}/roles/{special['id']}", 204)
    roles = login(cloud, user, on(project)).json()["token"]["roles"]
    assert [role["name"] for role in roles] == ["reader"]


def test_grants_of_every_kind(cloud: Cloud, admin: Admin) -> None:
    domain, project, user, group = admin.domain(), admin.project(), admin.user(), admin.group()
    role = admin.role()
    for target in (f"/projects/{project['id']}", f"/domains/{domain['id']}", "/system"):
        for actor in (f"/users/{user['id']}", f"/groups/{group['id']}"):
            path = f"{target}{actor}/roles"
            one = f"{path}/{role['id']}"
            admin.call("GET", one, 404)
            admin.call("PUT", one, 204)
            admin.call("PUT", one, 204)
            admin.call("GET", one, 204)
            assert cloud.request("HEAD", V3 + one, token=admin.token).status_code == 204
            assert [row["id"] for row in admin.call("GET", path, 200)["roles"]] == [role["id"]]
            admin.call("DELETE", one, 204)
            admin.call("DELETE", one, 404)
            assert admin.call("GET", path, 200)["roles"] == []
    for missing in (f"/projects/{'0' * 32}/users/{user['id']}/roles/{role['id']}",
                    f"/projects/{project['id']}/users/{'0' * 32}/roles/{role['id']}",
                    f"/projects/{project['id']}/users/{user['id']}/roles/{'0' * 32}",
                    f"/domains/{project['id']}/users/{user['id']}/roles/{role['id']}"):
        admin.call("PUT", missing, 404)


def test_inherited_grants(cloud: Cloud, admin: Admin) -> None:
    domain = admin.domain()
    top = admin.project(domain_id=domain["id"])
    below = admin.project(parent_id=top["id"])
    user, role = admin.user(), admin.role()
    path = f"/OS-INHERIT/domains/{domain['id']}/users/{user['id']}/roles"
    one = f"{path}/{role['id']}/inherited_to_projects"
    admin.call("PUT", one, 204)
    admin.call("GET", one, 204)
    assert [row["id"] for row in admin.call("GET", path + "/inherited_to_projects", 200)["roles"]] == [role["id"]]
    assert admin.call("GET", f"/domains/{domain['id']}/users/{user['id']}/roles", 200)["roles"] == []
    assert login(cloud, user, {"domain": {"id": domain["id"]}}).status_code == 401
    for project in (top, below):
        assert login(cloud, user, on(project)).json()["token"]["roles"][0]["id"] == role["id"]
    (stored,) = assignments(admin, f"user.id={user['id']}")
    assert stored["scope"] == {"domain": {"id": domain["id"]}, "OS-INHERIT:inherited_to": "projects"}
    assert stored["links"]["assignment"] == cloud.url + V3 + one
    effective = assignments(admin, f"user.id={user['id']}&effective")
    assert {item["scope"]["project"]["id"] for item in effective} == {top["id"], below["id"]}
    admin.call("DELETE", one, 204)
    assert login(cloud, user, on(below)).status_code == 401
    admin.call("PUT", f"/OS-INHERIT/projects/{top['id']}/users/{user['id']}/roles/{role['id']}/inherited_to_projects",
               204)
    assert login(cloud, user, on(top)).status_code == 401
    assert login(cloud, user, on(below)).status_code == 201


def test_listing_assignments(cloud: Cloud, admin: Admin) -> None:
    user, group, project, role = admin.user(), admin.group(), admin.project(), admin.role()
    child = admin.project(parent_id=project["id"])
    admin.call("PUT", f"/groups/{group['id']}/users/{user['id']}", 204)
    admin.grant(f"projects/{project['id']}", f"groups/{group['id']}", "member")
    admin.grant(f"projects/{child['id']}", f"users/{user['id']}", role["name"])
    admin.grant("system", f"users/{user['id']}", "reader")

    (by_group,) = assignments(admin, f"group.id={group['id']}")
    assert by_group["group"] == {"id": group["id"]}
    assert by_group["scope"] == {"project": {"id": project["id"]}}
    assert len(assignments(admin, f"user.id={user['id']}")) == 2
    (system,) = assignments(admin, f"user.id={user['id']}&scope.system=all")
    assert system["scope"] == {"system": {"all": True}}
    (by_role,) = assignments(admin, f"role.id={role['id']}")
    assert by_role["scope"]["project"]["id"] == child["id"]
    tree = assignments(admin, f"scope.project.id={project['id']}&include_subtree=1")
    assert {item["scope"]["project"]["id"] for item in tree} == {project["id"], child["id"]}

    effective = assignments(admin, f"user.id={user['id']}&scope.project.id={project['id']}&effective&include_names=1")
    assert {item["role"]["name"] for item in effective} == {"member", "reader"}
    member = next(item for item in effective if item["role"]["name"] == "member")
    assert member["user"] == {"id": user["id"], "name": user["name"], "domain": {"id": "default", "name": "Default"}}
    assert member["scope"]["project"]["domain"]["name"] == "Default"
    assert member["links"]["membership"] == f"{cloud.url}{V3}/groups/{group['id']}/users/{user['id']}"
    for bad in (f"user.id=x&group.id={group['id']}", "scope.system=all&scope.domain.id=default",
                "scope.project.id=x&scope.domain.id=y", "effective&group.id=x", "include_subtree=1"):
        admin.call("GET", "/role_assignments?" + bad, 400)
    assert assignments(admin, "user.id=nobody") == []


def test_deletes_take_assignments_with_them(admin: Admin) -> None:
    role, group = admin.role(), admin.group()
    (user, project), (other, other_project) = admin.person(), admin.person()
    admin.grant(f"projects/{project['id']}", f"users/{other['id']}", role["name"])
    admin.grant(f"projects/{other_project['id']}", f"groups/{group['id']}", role["name"])
    admin.call("DELETE", f"/projects/{project['id']}", 204)
    assert assignments(admin, f"user.id={user['id']}") == []
    admin.call("DELETE", f"/users/{other['id']}", 204)
    assert len(assignments(admin, f"scope.project.id={other_project['id']}")) == 1
    admin.call("DELETE", f"/roles/{role['id']}", 204)
    assert assignments(admin, f"scope.project.id={other_project['id']}") == []
