"""What identity's API tests make again and again. Everything goes over HTTP."""

from __future__ import annotations

import itertools
from typing import Any

import requests

from cloud import Cloud

V3 = "/identity/v3"
PASSWORD = "correct horse battery staple"

_numbers = itertools.count()


def fresh(word: str) -> str:
    """A name nobody has used in this run."""
    return f"{word}-{next(_numbers)}"


class Admin:
    """Calls as the cloud's administrator; makes things and hands back their JSON."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.token = cloud.admin_token()

    def call(self, method: str, path: str, expect: int, json: Any = None, token: str | None = None) -> Any:
        """One request to a v3 path with its expected status; the body decoded."""
        answer = self.cloud.request(method, V3 + path, token=token or self.token, json=json)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def domain(self, **fields: Any) -> dict[str, Any]:
        return self.call("POST", "/domains", 201, {"domain": {"name": fresh("domain")} | fields})["domain"]

    def project(self, **fields: Any) -> dict[str, Any]:
        return self.call("POST", "/projects", 201, {"project": {"name": fresh("project")} | fields})["project"]

    def user(self, **fields: Any) -> dict[str, Any]:
        body = {"user": {"name": fresh("user"), "password": PASSWORD} | fields}
        return self.call("POST", "/users", 201, body)["user"]

    def group(self, **fields: Any) -> dict[str, Any]:
        return self.call("POST", "/groups", 201, {"group": {"name": fresh("group")} | fields})["group"]

    def role(self, **fields: Any) -> dict[str, Any]:
        return self.call("POST", "/roles", 201, {"role": {"name": fresh("role")} | fields})["role"]

    def role_id(self, name: str) -> str:
        return self.call("GET", f"/roles?name={name}", 200)["roles"][0]["id"]

    def grant(self, where: str, who: str, role: str) -> None:
        """grant("projects/<id>", "users/<id>", "member")."""
        self.call("PUT", f"/{where}/{who}/roles/{self.role_id(role)}", 204)

    def person(self, role: str = "member", **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A user with a role on a new project."""
        project, user = self.project(), self.user(**fields)
        self.grant(f"projects/{project['id']}", f"users/{user['id']}", role)
        return user, project


def login(
    cloud: Cloud, user: dict[str, Any], scope: Any = None, password: str = PASSWORD
) -> requests.Response:
    """POST /auth/tokens by user id and password."""
    identity = {"methods": ["password"], "password": {"user": {"id": user["id"], "password": password}}}
    auth: dict[str, Any] = {"identity": identity}
    if scope is not None:
        auth["scope"] = scope
    return cloud.request("POST", V3 + "/auth/tokens", json={"auth": auth})


def rescope(cloud: Cloud, token: str, scope: Any = None) -> requests.Response:
    """POST /auth/tokens with a token."""
    auth: dict[str, Any] = {"identity": {"methods": ["token"], "token": {"id": token}}}
    if scope is not None:
        auth["scope"] = scope
    return cloud.request("POST", V3 + "/auth/tokens", json={"auth": auth})


def token_of(answer: requests.Response) -> str:
    """The token that was issued."""
    assert answer.status_code == 201, answer.text
    return answer.headers["X-Subject-Token"]


def on(project: dict[str, Any]) -> dict[str, Any]:
    """Scope of a project."""
    return {"project": {"id": project["id"]}}


def is_valid(cloud: Cloud, token: str) -> bool:
    """Whether the token opens anything: tried as a caller's token and as a subject."""
    as_caller = cloud.request("GET", V3 + "/auth/projects", token=token)
    as_subject = cloud.request("GET", V3 + "/auth/tokens", token=cloud.admin_token(),
                               headers={"X-Subject-Token": token})
    both = (as_caller.status_code, as_subject.status_code)
    assert both in ((200, 200), (401, 404)), (as_caller.text, as_subject.text)
    return as_caller.status_code == 200
