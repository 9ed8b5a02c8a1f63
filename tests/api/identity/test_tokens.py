"""Tokens: got by password and by token, for every scope; shown, checked, revoked; keys rotated under use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import requests

from cloud import Cloud
from pileus.services.identity.api.auth.session import Tokens
from pileus.services.identity.tasks.token_keys import TokenKeys
from tests.api.identity.people import PASSWORD, V3, Admin, fresh, is_valid, login, on, rescope, token_of

SERVICES = ("identity",)


def subject(cloud: Cloud, method: str, token: str, query: str = "", by: str | None = None) -> requests.Response:
    caller = by or cloud.admin_token()
    return cloud.request(method, f"{V3}/auth/tokens{query}", token=caller, headers={"X-Subject-Token": token})


def runtime(cloud: Cloud):
    assert cloud.node is not None
    return cloud.node.runtimes["identity"]


def test_version_documents_are_public(cloud: Cloud) -> None:
    root = cloud.request("GET", "/identity")
    assert root.status_code == 300
    (version,) = root.json()["versions"]["values"]
    assert version["id"] == "v3.14"
    assert version["links"][0]["href"] == cloud.url + "/identity/v3/"
    assert cloud.request("GET", "/identity/v3/").json() == {"version": version}


def test_project_scoped_token_names_everything(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person()
    answer = login(cloud, user, on(project))
    token = answer.json()["token"]
    assert answer.headers["Vary"] == "X-Auth-Token"
    assert len(token_of(answer)) < 255
    assert token["methods"] == ["password"]
    assert token["user"] == {
        "id": user["id"], "name": user["name"], "domain": {"id": "default", "name": "Default"},
        "password_expires_at": None,
    }
    assert token["project"]["id"] == project["id"]
    assert token["is_domain"] is False
    assert [role["name"] for role in token["roles"]] == ["member", "reader"]
    (identity,) = [entry for entry in token["catalog"] if entry["type"] == "identity"]
    assert {e["interface"]: e["url"] for e in identity["endpoints"]} == dict.fromkeys(
        ("public", "internal", "admin"), cloud.url + "/identity/v3"
    )
    lifetime = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < lifetime <= timedelta(hours=1)
    assert token["expires_at"].endswith(".000000Z")


def test_unscoped_domain_and_system_tokens(cloud: Cloud, admin: Admin) -> None:
    user = admin.user()
    unscoped = login(cloud, user).json()["token"]
    assert not {"project", "domain", "system", "roles", "catalog"} & set(unscoped)
    assert login(cloud, user, {"domain": {"id": "default"}}).status_code == 401
    assert login(cloud, user, {"system": {"all": True}}).status_code == 401
    admin.grant("domains/default", f"users/{user['id']}", "reader")
    admin.grant("system", f"users/{user['id']}", "reader")
    domain = login(cloud, user, {"domain": {"name": "Default"}}).json()["token"]
    assert domain["domain"] == {"id": "default", "name": "Default"}
    assert "project" not in domain
    system = login(cloud, user, {"system": {"all": True}}).json()["token"]
    assert system["system"] == {"all": True}
    assert [role["name"] for role in system["roles"]] == ["reader"]


def test_default_project_is_the_scope_when_none_is_asked(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person()
    admin.call("PATCH", f"/users/{user['id']}", 200, {"user": {"default_project_id": project["id"]}})
    assert login(cloud, user).json()["token"]["project"]["id"] == project["id"]
    assert "project" not in login(cloud, user, "unscoped").json()["token"]
    other = admin.project()
    admin.call("PATCH", f"/users/{user['id']}", 200, {"user": {"default_project_id": other["id"]}})
    assert "project" not in login(cloud, user).json()["token"]


def test_names_need_a_domain(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person()
    by_name = {"name": user["name"], "password": PASSWORD, "domain": {"name": "Default"}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": by_name}}}}
    assert cloud.request("POST", V3 + "/auth/tokens", json=body).status_code == 201
    del by_name["domain"]
    assert cloud.request("POST", V3 + "/auth/tokens", json=body).status_code == 400
    assert login(cloud, user, {"project": {"name": project["name"]}}).status_code == 400
    named = {"project": {"name": project["name"], "domain": {"id": "default"}}}
    assert login(cloud, user, named).json()["token"]["project"]["id"] == project["id"]


@pytest.mark.parametrize("scope", [
    {}, {"project": {"id": "x"}, "domain": {"id": "y"}}, {"system": {"all": False}}, {"domain": {}}, "everything",
    {"project": []}, 5,
])
def test_a_malformed_scope_is_a_400(cloud: Cloud, admin: Admin, scope: object) -> None:
    answer = login(cloud, admin.user(), scope)
    assert answer.status_code == 400
    assert answer.json()["error"]["title"] == "Bad Request"


@pytest.mark.parametrize("body", [
    {}, {"auth": {}}, {"auth": {"identity": {}}}, {"auth": {"identity": {"methods": ["password"]}}},
    {"auth": {"identity": {"methods": []}}}, {"auth": []}, [],
    {"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": "x", "password": 5}}}}},
])
def test_a_malformed_login_is_a_400(cloud: Cloud, body: object) -> None:
    assert cloud.request("POST", V3 + "/auth/tokens", json=body).status_code == 400


def test_rescoping_keeps_chain_and_expiry(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person()
    first = login(cloud, user)
    second = rescope(cloud, token_of(first), on(project))
    third = rescope(cloud, token_of(second), "unscoped")
    bodies = [answer.json()["token"] for answer in (first, second, third)]
    assert len({body["expires_at"] for body in bodies}) == 1
    chain = bodies[0]["audit_ids"][0]
    assert [body["audit_ids"][-1] for body in bodies] == [chain] * 3
    assert [len(body["audit_ids"]) for body in bodies] == [1, 2, 2]
    assert bodies[2]["methods"] == ["token", "password"]
    assert len(token_of(second)) < 255


def test_show_check_and_revoke(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person()
    token, other = token_of(login(cloud, user, on(project))), token_of(login(cloud, user, on(project)))
    shown = subject(cloud, "GET", token)
    assert shown.status_code == 200
    assert shown.headers["X-Subject-Token"] == token
    assert shown.json()["token"]["catalog"]
    assert "catalog" not in subject(cloud, "GET", token, "?nocatalog").json()["token"]
    head = subject(cloud, "HEAD", token, by=token)
    assert (head.status_code, head.content) == (200, b"")
    assert subject(cloud, "DELETE", token, by=other).status_code == 204
    assert subject(cloud, "GET", token).status_code == 404
    assert not is_valid(cloud, token)
    assert is_valid(cloud, other)
    assert rescope(cloud, token).status_code == 401


def test_only_owner_admin_and_services_may_look_at_a_token(cloud: Cloud, admin: Admin) -> None:
    mine, theirs = (token_of(login(cloud, user, on(project))) for user, project in (admin.person(), admin.person()))
    assert subject(cloud, "GET", mine, by=theirs).status_code == 403
    assert subject(cloud, "DELETE", mine, by=theirs).status_code == 403
    assert subject(cloud, "GET", "rubbish", by=theirs).status_code == 403
    assert subject(cloud, "GET", "rubbish").status_code == 404
    assert cloud.request("GET", V3 + "/auth/tokens", token=admin.token).status_code == 400


def test_every_changed_character_makes_a_token_invalid(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person()
    token = token_of(login(cloud, user, on(project)))
    for at in range(0, len(token), 9):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert cloud.request("GET", V3 + "/auth/projects", token=changed).status_code == 401, at
    for odd in (token[:-20], token + "AAAA", "a" * 9_000, "gAAAA", "..", "é"):
        answer = cloud.request("GET", V3 + "/auth/projects", token=odd.encode())  # type: ignore[arg-type]
        assert answer.status_code == 401, odd


def test_expired_tokens_are_dead_but_services_may_finish_work(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person()
    tokens: Tokens = runtime(cloud).get(Tokens)
    payload = cloud.run(tokens.open(token_of(login(cloud, user, on(project)))))
    assert payload is not None
    now = datetime.now(UTC).replace(microsecond=0)
    expired = tokens.seal(msgspec.structs.replace(payload, expires_at=now - timedelta(minutes=5)))
    long_ago = tokens.seal(msgspec.structs.replace(payload, expires_at=now - timedelta(days=3)))
    assert not is_valid(cloud, expired)
    assert rescope(cloud, expired).status_code == 401
    assert subject(cloud, "GET", expired, "?allow_expired=1").status_code == 200
    assert subject(cloud, "GET", long_ago, "?allow_expired=1").status_code == 404


def test_keys_rotate_under_use(cloud: Cloud, admin: Admin) -> None:
    keys: TokenKeys = runtime(cloud).get(TokenKeys)
    active: int = runtime(cloud).config.max_active_keys
    user, project = admin.person()
    before = token_of(login(cloud, user, on(project)))
    made = [before]
    for _ in range(active - 2):
        assert cloud.run(keys.rotate())
        assert all(is_valid(cloud, token) for token in made)
        made.append(token_of(login(cloud, user, on(project))))
    assert cloud.run(keys.rotate())
    assert subject(cloud, "GET", before).status_code == 404, "its key is gone"
    assert all(is_valid(cloud, token) for token in made[1:])
    assert len(keys.ring.ciphers()) == active
    assert not cloud.run(keys.rotate_when_due()), "the primary is new"


def test_reach_of_a_token(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person()
    token = token_of(login(cloud, user))
    group, shared, off = admin.group(), admin.project(), admin.project()
    admin.call("PUT", f"/groups/{group['id']}/users/{user['id']}", 204)
    admin.grant(f"projects/{shared['id']}", f"groups/{group['id']}", "reader")
    admin.grant(f"projects/{off['id']}", f"groups/{group['id']}", "reader")
    admin.call("PATCH", f"/projects/{off['id']}", 200, {"project": {"enabled": False}})
    found = admin.call("GET", "/auth/projects", 200, token=token)["projects"]
    assert {row["id"] for row in found} == {project["id"], shared["id"]}
    assert admin.call("GET", "/auth/domains", 200, token=token)["domains"] == []
    assert admin.call("GET", "/auth/system", 200, token=token)["system"] == []
    assert admin.call("GET", "/auth/system", 200)["system"] == [{"all": True}]
    assert admin.call("GET", "/auth/catalog", 200)["catalog"]
    admin.call("GET", "/auth/catalog", 403, token=token)


def test_endpoint_templates_are_filled_in(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person()
    service = admin.call("POST", "/services", 201, {"service": {"type": fresh("type"), "name": "s"}})["service"]
    url = "http://store/v1/AUTH_$(project_id)s/%(tenant_id)s/$(user_id)s"
    endpoint = {"service_id": service["id"], "interface": "public", "url": url, "region_id": "RegionOne"}
    admin.call("POST", "/endpoints", 201, {"endpoint": endpoint})

    def urls(scope: object) -> list[str]:
        catalog = login(cloud, user, scope).json()["token"]["catalog"]
        return [e["url"] for entry in catalog if entry["id"] == service["id"] for e in entry["endpoints"]]

    assert urls(on(project)) == [f"http://store/v1/AUTH_{project['id']}/{project['id']}/{user['id']}"]
    admin.grant("domains/default", f"users/{user['id']}", "reader")
    assert urls({"domain": {"id": "default"}}) == []
    admin.call("PATCH", f"/services/{service['id']}", 200, {"service": {"enabled": False}})
    assert urls(on(project)) == []
