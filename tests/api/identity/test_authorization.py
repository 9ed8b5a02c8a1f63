"""Security row 30: every route of identity refuses who has no business there. A new route is tried by itself."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cloud import Cloud
from pileus.kernel.http import ANY_TOKEN, PUBLIC, Route
from pileus.services.identity.api import ROUTES
from pileus.services.identity.policies import RULES
from tests.api.identity.people import PASSWORD, Admin, fresh, login, on, token_of

SERVICES = ("identity",)

# Who may call without a token. Growing this list is a decision about security.
OPEN = {("GET", "/"), ("GET", "/v3"), ("POST", "/v3/auth/tokens"), ("POST", "/v3/users/{user_id}/password")}
# What every token may call, about itself or about what all may see.
FOR_ALL = {
    ("GET", "/v3/auth/projects"), ("GET", "/v3/auth/domains"), ("GET", "/v3/auth/system"), ("GET", "/v3/auth/catalog"),
    ("GET", "/v3/regions"), ("GET", "/v3/regions/{region_id}"),
}
# Answers about the token in X-Subject-Token, not about the path: tried in test_tokens.py.
BY_SUBJECT = {("GET", "/v3/auth/tokens"), ("DELETE", "/v3/auth/tokens")}
# A project's members see their domain.
VISIBLE = {("GET", "/v3/domains/{domain_id}")}

BODIES: dict[str, Any] = {
    "project": {"name": "x"}, "domain": {"name": "x"}, "user": {"name": "x"}, "group": {"name": "x"},
    "role": {"name": "x"}, "region": {"description": "x"}, "service": {"type": "x"},
    "endpoint": {"service_id": "x", "interface": "public", "url": "http://x"},
}


def key(route: Route) -> tuple[str, str]:
    return route.method, route.path


def body_of(route: Route) -> Any:
    if route.envelope is not None:
        return {route.envelope: BODIES.get(route.envelope, {})}
    return {"tags": ["x"]} if route.path.endswith("/tags") and route.method == "PUT" else None


@pytest.fixture(scope="module")
def victim(cloud: Cloud) -> dict[str, str]:
    """Things that exist and belong to somebody else."""
    admin = Admin(cloud)
    user, project = admin.person()
    group, role, implied = admin.group(), admin.role(), admin.role()
    admin.call("PUT", f"/roles/{role['id']}/implies/{implied['id']}", 201)
    admin.call("PUT", f"/projects/{project['id']}/tags/tag", 201)
    admin.call("PUT", f"/groups/{group['id']}/users/{user['id']}", 204)
    service = admin.call("POST", "/services", 201, {"service": {"type": fresh("t")}})["service"]
    endpoint = {"service_id": service["id"], "interface": "public", "url": "http://x"}
    made = admin.call("POST", "/endpoints", 201, {"endpoint": endpoint})["endpoint"]
    return {
        "user_id": user["id"], "project_id": project["id"], "group_id": group["id"], "role_id": role["id"],
        "prior_role_id": role["id"], "implied_role_id": implied["id"], "domain_id": "default", "tag": "tag",
        "region_id": "RegionOne", "service_id": service["id"], "endpoint_id": made["id"],
    }


@pytest.fixture(scope="module")
def attacker(cloud: Cloud) -> str:
    admin = Admin(cloud)
    user, project = admin.person("member")
    return token_of(login(cloud, user, on(project)))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_no_token_is_401(cloud: Cloud, route: Route, victim: dict[str, str]) -> None:
    if key(route) in OPEN:
        assert route.policy == PUBLIC
        return
    path = "/identity" + re.sub(r"\{(\w+)\}", lambda match: victim[match.group(1)], route.path)
    for headers in ({}, {"X-Auth-Token": "rubbish"}, {"X-Roles": "admin", "X-User-Id": "x", "X-Is-Admin-Project": "1"}):
        answer = cloud.request(route.method, path, json=body_of(route), headers=headers)
        assert answer.status_code == 401, answer.text
        assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")
        if route.method != "HEAD":
            assert answer.json()["error"]["code"] == 401


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_member_of_another_project_is_refused(
    cloud: Cloud, route: Route, victim: dict[str, str], attacker: str
) -> None:
    path = "/identity" + re.sub(r"\{(\w+)\}", lambda match: victim[match.group(1)], route.path)
    if key(route) in OPEN | BY_SUBJECT:
        return
    # Rows 17: headers that middleware would set must count for nothing.
    forged = {"X-Roles": "admin", "X-Role": "admin", "X-Is-Admin-Project": "True", "X-System-Scope": "all"}
    answer = cloud.request(route.method, path, json=body_of(route), token=attacker, headers=forged)
    if key(route) in FOR_ALL | VISIBLE:
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code in (403, 404), answer.text


def test_what_does_not_exist_looks_like_what_is_forbidden(cloud: Cloud, victim: dict[str, str], attacker: str) -> None:
    for kind in ("user", "project", "group", "role"):
        there = cloud.request("GET", f"/identity/v3/{kind}s/{victim[kind + '_id']}", token=attacker)
        missing = cloud.request("GET", f"/identity/v3/{kind}s/{'0' * 32}", token=attacker)
        assert (there.status_code, there.text) == (missing.status_code, missing.text)


def test_rules_and_routes_agree() -> None:
    names = {rule.name for rule in RULES}
    used = {route.policy for route in ROUTES} | {getattr(route.handler, "policy_rule", "") for route in ROUTES}
    assert used - names <= {PUBLIC, ANY_TOKEN, ""}
    bare = {key(route) for route in ROUTES if route.policy == ANY_TOKEN and not hasattr(route.handler, "policy_rule")}
    # These choose among several rules, so they check by themselves.
    assert bare == BY_SUBJECT | {
        ("GET", "/v3/roles"), ("POST", "/v3/roles"), ("GET", "/v3/roles/{role_id}"), ("PATCH", "/v3/roles/{role_id}"),
        ("DELETE", "/v3/roles/{role_id}"), ("GET", "/v3/role_assignments"),
    }


def test_members_see_themselves_and_their_project(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person("reader")
    token = token_of(login(cloud, user, on(project)))
    assert admin.call("GET", f"/users/{user['id']}", 200, token=token)["user"]["name"] == user["name"]
    assert admin.call("GET", f"/projects/{project['id']}", 200, token=token)["project"]["id"] == project["id"]
    assert admin.call("GET", f"/users/{user['id']}/groups", 200, token=token)["groups"] == []
    (own,) = admin.call("GET", f"/users/{user['id']}/projects", 200, token=token)["projects"]
    assert own["id"] == project["id"]
    admin.call("PATCH", f"/users/{user['id']}", 403, {"user": {"enabled": True}}, token=token)
    admin.call("GET", "/users", 403, token=token)


def test_system_reader_reads_all_and_changes_nothing(cloud: Cloud, admin: Admin) -> None:
    user = admin.user()
    admin.grant("system", f"users/{user['id']}", "reader")
    token = token_of(login(cloud, user, {"system": {"all": True}}))
    for path in ("/users", "/projects", "/domains", "/roles", "/groups", "/services", "/endpoints", "/regions",
                 "/role_assignments", f"/users/{user['id']}", "/role_inferences"):
        admin.call("GET", path, 200, token=token)
    admin.call("POST", "/users", 403, {"user": {"name": fresh("u")}}, token=token)
    admin.call("POST", "/domains", 403, {"domain": {"name": fresh("d")}}, token=token)


def test_domain_manager_rules_their_domain_only(cloud: Cloud, admin: Admin) -> None:
    domain, other = admin.domain(), admin.domain()
    boss = admin.user(domain_id=domain["id"])
    admin.grant(f"domains/{domain['id']}", f"users/{boss['id']}", "manager")
    token = token_of(login(cloud, boss, {"domain": {"id": domain["id"]}}))
    new = {"user": {"name": fresh("u"), "domain_id": domain["id"], "password": PASSWORD}}
    made = admin.call("POST", "/users", 201, new, token=token)["user"]
    project = admin.call("POST", "/projects", 201, {"project": {"name": fresh("p")}}, token=token)["project"]
    assert project["domain_id"] == domain["id"]
    admin.call("POST", "/users", 403, {"user": {"name": fresh("u"), "domain_id": other["id"]}}, token=token)
    admin.call("POST", "/projects", 403, {"project": {"name": fresh("p"), "domain_id": other["id"]}}, token=token)
    grant = f"/projects/{project['id']}/users/{made['id']}/roles/"
    admin.call("PUT", grant + admin.role_id("member"), 204, token=token)
    admin.call("PUT", grant + admin.role_id("admin"), 403, token=token)
    listed = admin.call("GET", "/users", 200, token=token)["users"]
    assert {row["id"] for row in listed} == {boss["id"], made["id"]}
    shown = admin.call("GET", "/role_assignments", 200, token=token)["role_assignments"]
    assert {item["scope"].get("project", item["scope"].get("domain"))["id"] for item in shown} == {
        project["id"], domain["id"],
    }
    admin.call("DELETE", f"/domains/{domain['id']}", 403, token=token)


def test_domain_admin_tokens_do_not_make_domains(cloud: Cloud, admin: Admin) -> None:
    domain = admin.domain()
    boss = admin.user(domain_id=domain["id"])
    admin.grant(f"domains/{domain['id']}", f"users/{boss['id']}", "admin")
    token = token_of(login(cloud, boss, {"domain": {"id": domain["id"]}}))
    admin.call("POST", "/domains", 403, {"domain": {"name": fresh("d")}}, token=token)
    admin.call("POST", "/roles", 403, {"role": {"name": fresh("r")}}, token=token)
