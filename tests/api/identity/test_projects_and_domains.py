"""Projects, domains, tags and the tree."""

from __future__ import annotations

import pytest

from cloud import Cloud
from tests.api.identity.people import PASSWORD, V3, Admin, fresh, login, on

SERVICES = ("identity",)


def test_project_life(cloud: Cloud, admin: Admin) -> None:
    project = admin.project(description="one", tags=["b", "a"], colour="blue")
    path = f"/projects/{project['id']}"
    assert project["links"]["self"] == cloud.url + V3 + path
    assert project["parent_id"] == project["domain_id"] == "default"
    assert (project["tags"], project["colour"], project["is_domain"]) == (["a", "b"], "blue", False)
    changed = admin.call("PATCH", path, 200, {"project": {"description": "two", "colour": "red"}})["project"]
    assert (changed["description"], changed["colour"], changed["name"]) == ("two", "red", project["name"])
    assert admin.call("GET", path, 200)["project"] == changed
    admin.call("PATCH", path, 400, {"project": {"domain_id": "other"}})
    admin.call("DELETE", path, 204)
    missing = admin.call("GET", path, 404)["error"]
    assert missing == {"code": 404, "title": "Not Found", "message": f"Could not find project: {project['id']}."}
    admin.call("DELETE", path, 404)


@pytest.mark.parametrize("fields", [
    {"name": ""}, {"name": " "}, {"name": "x" * 65}, {"name": 5}, {"enabled": "yes"}, {"parent_id": "nowhere"},
    {"domain_id": "nowhere"}, {"tags": ["a,b"]}, {"tags": "a"}, {"options": {"odd": True}}, {"is_domain": 1},
])
def test_bad_projects_are_400(admin: Admin, fields: dict[str, object]) -> None:
    admin.call("POST", "/projects", 400, {"project": {"name": fresh("bad")} | fields})


def test_names_are_unique_per_domain(admin: Admin) -> None:
    domain, project = admin.domain(), admin.project()
    error = admin.call("POST", "/projects", 409, {"project": {"name": project["name"]}})["error"]
    assert (error["code"], error["title"]) == (409, "Conflict")
    admin.project(name=project["name"], domain_id=domain["id"])
    admin.call("POST", "/domains", 409, {"domain": {"name": domain["name"]}})
    other = admin.project()
    admin.call("PATCH", f"/projects/{other['id']}", 409, {"project": {"name": project["name"]}})


def test_tree(admin: Admin) -> None:
    top = admin.project()
    middle = admin.project(parent_id=top["id"])
    leaf = admin.project(parent_id=middle["id"])
    shown = admin.call("GET", f"/projects/{leaf['id']}?parents_as_ids", 200)["project"]
    assert shown["parents"] == {middle["id"]: {top["id"]: {"default": None}}}
    shown = admin.call("GET", f"/projects/{leaf['id']}?parents_as_list", 200)["project"]
    assert [row["project"]["id"] for row in shown["parents"]] == [middle["id"], top["id"]]
    shown = admin.call("GET", f"/projects/{top['id']}?subtree_as_ids", 200)["project"]
    assert shown["subtree"] == {middle["id"]: {leaf["id"]: None}}
    shown = admin.call("GET", f"/projects/{top['id']}?subtree_as_list", 200)["project"]
    assert [row["project"]["id"] for row in shown["subtree"]] == [middle["id"], leaf["id"]]
    admin.call("GET", f"/projects/{top['id']}?subtree_as_list&subtree_as_ids", 400)
    admin.call("DELETE", f"/projects/{top['id']}", 403)
    admin.call("PATCH", f"/projects/{top['id']}", 403, {"project": {"enabled": False}})
    admin.call("PATCH", f"/projects/{leaf['id']}", 200, {"project": {"enabled": False}})
    admin.call("POST", "/projects", 403, {"project": {"name": fresh("p"), "parent_id": leaf["id"]}})


def test_filters_pages_and_links(cloud: Cloud, admin: Admin) -> None:
    domain = admin.domain()
    rows = [admin.project(domain_id=domain["id"], name=f"Row-{n}", enabled=n != 2, tags=[f"t{n}", "all"])
            for n in range(3)]
    base = f"/projects?domain_id={domain['id']}"

    def names(query: str) -> list[str]:
        return sorted(row["name"] for row in admin.call("GET", base + query, 200)["projects"])

    assert names("") == ["Row-0", "Row-1", "Row-2"]
    assert names("&name=Row-1") == ["Row-1"]
    assert names("&enabled=false") == ["Row-2"]
    assert names("&name__contains=ow-2") == names("&name__icontains=OW-2") == names("&name__endswith=-2") == ["Row-2"]
    assert names("&name__startswith=row") == []
    assert len(names("&name__istartswith=row")) == 3
    assert names("&tags=all,t1") == ["Row-1"]
    assert names("&tags-any=t0,t1") == ["Row-0", "Row-1"]
    assert names("&not-tags=all,t1") == ["Row-0", "Row-2"]
    assert names("&not-tags-any=t0,t1") == ["Row-2"]
    first = admin.call("GET", base + "&limit=2", 200)
    assert len(first["projects"]) == 2
    assert first["links"]["self"] == cloud.url + V3 + base + "&limit=2"
    second = admin.call("GET", first["links"]["next"].removeprefix(cloud.url + V3), 200)
    assert second["links"]["next"] is None
    assert {row["id"] for row in first["projects"] + second["projects"]} == {row["id"] for row in rows}
    admin.call("GET", "/projects?limit=-1", 400)


def test_tags(admin: Admin) -> None:
    path = f"/projects/{admin.project()['id']}/tags"
    admin.call("PUT", path + "/red", 201)
    admin.call("GET", path + "/red", 204)
    admin.call("GET", path + "/blue", 404)
    assert admin.call("PUT", path, 200, {"tags": ["x", "y", "x"]})["tags"] == ["x", "y"]
    admin.call("DELETE", path + "/x", 204)
    assert admin.call("GET", path, 200)["tags"] == ["y"]
    admin.call("DELETE", path, 204)
    assert admin.call("GET", path, 200)["tags"] == []
    admin.call("PUT", path, 400, {"tags": [f"t{n}" for n in range(81)]})
    admin.call("PUT", path + "/" + "x" * 256, 400)


def test_domain_life(cloud: Cloud, admin: Admin) -> None:
    domain = admin.domain(description="ours")
    project = admin.project(domain_id=domain["id"])
    user, group = admin.user(domain_id=domain["id"]), admin.group(domain_id=domain["id"])
    role = admin.role(domain_id=domain["id"])
    outsider = admin.user(default_project_id=project["id"])
    admin.grant(f"projects/{project['id']}", f"users/{outsider['id']}", "member")
    path = f"/domains/{domain['id']}"
    refused = admin.call("DELETE", path, 403)["error"]["message"]
    assert "disable it first" in refused
    admin.call("PATCH", path, 200, {"domain": {"enabled": False}})
    assert login(cloud, user).status_code == 401
    assert login(cloud, outsider, on(project)).status_code == 401
    admin.call("DELETE", path, 204)
    for kind, row in (("projects", project), ("users", user), ("groups", group), ("roles", role)):
        admin.call("GET", f"/{kind}/{row['id']}", 404)
    admin.call("GET", path, 404)
    assert "default_project_id" not in admin.call("GET", f"/users/{outsider['id']}", 200)["user"]
    listed = admin.call("GET", f"/role_assignments?user.id={outsider['id']}", 200)
    assert listed["role_assignments"] == []
    admin.call("PATCH", "/domains/default", 403, {"domain": {"enabled": False}})
    admin.call("DELETE", "/domains/default", 403)


def test_a_domain_is_also_a_project(admin: Admin) -> None:
    domain = admin.domain()
    shown = admin.call("GET", f"/projects/{domain['id']}", 200)["project"]
    assert (shown["is_domain"], shown["domain_id"], shown["parent_id"]) == (True, None, None)
    assert domain["id"] not in {row["id"] for row in admin.call("GET", "/projects", 200)["projects"]}
    listed = admin.call("GET", "/projects?is_domain=true", 200)["projects"]
    assert domain["id"] in {row["id"] for row in listed}
    made = admin.project(is_domain=True)
    assert admin.call("GET", f"/domains/{made['id']}", 200)["domain"]["name"] == made["name"]
    admin.call("POST", "/users", 400, {"user": {"name": "x", "default_project_id": domain["id"]}})


def test_explicit_domain_id_and_immutable(admin: Admin) -> None:
    chosen = "0123456789abcdef0123456789abcdef"
    assert admin.domain(explicit_domain_id=chosen)["id"] == chosen
    admin.call("POST", "/domains", 409, {"domain": {"name": fresh("d"), "explicit_domain_id": chosen}})
    admin.call("POST", "/domains", 400, {"domain": {"name": fresh("d"), "explicit_domain_id": "../x"}})
    project = admin.project(options={"immutable": True})
    path = f"/projects/{project['id']}"
    admin.call("PATCH", path, 403, {"project": {"description": "x"}})
    admin.call("DELETE", path, 403)
    admin.call("PATCH", path, 200, {"project": {"options": {"immutable": None}}})
    admin.call("DELETE", path, 204)


def test_new_things_go_to_the_callers_domain(admin: Admin) -> None:
    assert admin.user(password=PASSWORD)["domain_id"] == "default"
    assert admin.group()["domain_id"] == "default"
