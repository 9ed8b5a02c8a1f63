"""Security row 13: what is disabled, deleted or changed ends the tokens that rest on it, at once and for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloud import Cloud
from tests.api.identity.people import PASSWORD, Admin, fresh, is_valid, login, on, rescope, token_of

SERVICES = ("identity",)


class Situation:
    """A user of a domain of their own, with a role through themselves and one through a group, and their tokens."""

    def __init__(self, cloud: Cloud, admin: Admin) -> None:
        self.cloud, self.admin = cloud, admin
        self.domain = admin.domain()
        self.project = admin.project(domain_id=self.domain["id"])
        self.user = admin.user(domain_id=self.domain["id"])
        self.role = admin.role()
        self.path = f"/projects/{self.project['id']}/users/{self.user['id']}/roles/{self.role['id']}"
        admin.call("PUT", self.path, 204)
        self.unscoped = token_of(login(cloud, self.user, "unscoped"))
        self.scoped = token_of(rescope(cloud, self.unscoped, on(self.project)))
        assert is_valid(cloud, self.unscoped)
        assert is_valid(cloud, self.scoped)

    def patch(self, kind: str, row: dict[str, Any], **fields: Any) -> None:
        self.admin.call("PATCH", f"/{kind}s/{row['id']}", 200, {kind: fields})

    def off_and_on(self, kind: str, row: dict[str, Any]) -> None:
        self.patch(kind, row, enabled=False)
        assert not is_valid(self.cloud, self.scoped)
        self.patch(kind, row, enabled=True)

    def delete(self, path: str) -> None:
        self.admin.call("DELETE", path, 204)


CHANGES: dict[str, tuple[Callable[[Situation], None], bool]] = {
    # change: (what is done, whether the unscoped token lives on)
    "user off and on again": (lambda s: s.off_and_on("user", s.user), False),
    "project off and on again": (lambda s: s.off_and_on("project", s.project), True),
    "domain off and on again": (lambda s: s.off_and_on("domain", s.domain), False),
    "user deleted": (lambda s: s.delete(f"/users/{s.user['id']}"), False),
    "project deleted": (lambda s: s.delete(f"/projects/{s.project['id']}"), True),
    "password set by the admin": (lambda s: s.patch("user", s.user, password="another one"), False),
    "role taken": (lambda s: s.delete(s.path), True),
    "role deleted": (lambda s: s.delete(f"/roles/{s.role['id']}"), True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_tokens_die_at_once(cloud: Cloud, admin: Admin, name: str) -> None:
    change, unscoped_lives = CHANGES[name]
    situation = Situation(cloud, admin)
    change(situation)
    assert not is_valid(cloud, situation.scoped)
    assert is_valid(cloud, situation.unscoped) is unscoped_lives
    assert rescope(cloud, situation.scoped, on(situation.project)).status_code == 401
    # The admin was not harmed, and others' tokens of the same kind neither.
    assert is_valid(cloud, admin.token)


def test_own_password_change_ends_tokens_and_the_old_password(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person()
    token = token_of(login(cloud, user, on(project)))
    body = {"user": {"original_password": PASSWORD, "password": "a new one"}}
    path = f"/identity/v3/users/{user['id']}/password"
    assert cloud.request("POST", path, json=body).status_code == 204
    assert not is_valid(cloud, token)
    assert login(cloud, user).status_code == 401
    assert is_valid(cloud, token_of(login(cloud, user, on(project), "a new one")))
    assert cloud.request("POST", path, json=body).status_code == 401


def test_a_role_through_a_group_goes_with_group_and_membership(cloud: Cloud, admin: Admin) -> None:
    user, project, group = admin.user(), admin.project(), admin.group()
    admin.call("PUT", f"/groups/{group['id']}/users/{user['id']}", 204)
    admin.grant(f"projects/{project['id']}", f"groups/{group['id']}", "member")
    token = token_of(login(cloud, user, on(project)))
    admin.call("DELETE", f"/groups/{group['id']}/users/{user['id']}", 204)
    assert not is_valid(cloud, token)
    admin.call("PUT", f"/groups/{group['id']}/users/{user['id']}", 204)
    assert is_valid(cloud, token), "nothing revoked it: it means what the database says"
    admin.call("DELETE", f"/groups/{group['id']}", 204)
    assert not is_valid(cloud, token)


def test_roles_are_read_fresh(cloud: Cloud, admin: Admin) -> None:
    user, project = admin.person("reader")
    token = token_of(login(cloud, user, on(project)))
    admin.call("POST", "/projects", 403, {"project": {"name": fresh("no")}}, token=token)
    admin.grant(f"projects/{project['id']}", f"users/{user['id']}", "admin")
    admin.call("POST", "/projects", 201, {"project": {"name": fresh("yes")}}, token=token)
    admin.call("DELETE", f"/projects/{project['id']}/users/{user['id']}/roles/{admin.role_id('admin')}", 204)
    admin.call("POST", "/projects", 403, {"project": {"name": fresh("no")}}, token=token)
