"""Lockout, history, expiry and strength of passwords, when the operator asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from cloud import Cloud
from pileus.services.identity.db import users
from tests.api.identity.people import PASSWORD, V3, Admin, login

RULES = {
    "lockout_failure_attempts": 2, "lockout_duration_s": 60, "unique_last_password_count": 2,
    "password_expires_days": 90, "password_regex": ".{8,}", "password_regex_description": "at least 8 characters",
}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), services=("identity",), tables={"identity": RULES}) as running:
        yield running


def change(cloud: Cloud, user: dict[str, str], original: str, new: str) -> tuple[int, str]:
    body = {"user": {"original_password": original, "password": new}}
    answer = cloud.request("POST", f"{V3}/users/{user['id']}/password", json=body)
    return answer.status_code, answer.text


def shift(cloud: Cloud, user: dict[str, str], **changes: object) -> None:
    """Set times in the database, as if they had passed."""
    assert cloud.node is not None
    cloud.node.runtimes["identity"].db.run(users.update, user["id"], changes)


def now(cloud: Cloud):
    assert cloud.node is not None
    return cloud.node.clock.now()


def test_lockout_and_its_end(cloud: Cloud, admin: Admin) -> None:
    user = admin.user()
    refusals = {login(cloud, user, password="wrong password").text for _ in range(2)}
    locked = login(cloud, user)
    assert locked.status_code == 401
    assert {locked.text} == refusals, "a lock cannot be told from a wrong password"
    assert change(cloud, user, PASSWORD, "other password")[0] == 401
    shift(cloud, user, last_failed_at=now(cloud) - timedelta(seconds=61))
    assert login(cloud, user).status_code == 201
    assert login(cloud, user, password="wrong password").status_code == 401
    assert login(cloud, user).status_code == 201, "one failure after a success does not lock"


def test_a_user_may_be_exempt_from_lockout(cloud: Cloud, admin: Admin) -> None:
    user = admin.user(options={"ignore_lockout_failure_attempts": True})
    for _ in range(3):
        login(cloud, user, password="wrong password")
    assert login(cloud, user).status_code == 201


def test_history(cloud: Cloud, admin: Admin) -> None:
    user = admin.user(password="password one")
    assert change(cloud, user, "password one", "password two")[0] == 204
    assert change(cloud, user, "password two", "password one")[0] == 400
    assert change(cloud, user, "password two", "password three")[0] == 204
    assert change(cloud, user, "password three", "password one")[0] == 204
    # An administrator's reset is not bound by the history.
    admin.call("PATCH", f"/users/{user['id']}", 200, {"user": {"password": "password one"}})
    assert login(cloud, user, password="password one").status_code == 201


def test_strength(cloud: Cloud, admin: Admin) -> None:
    refused = admin.call("POST", "/users", 400, {"user": {"name": "weak", "password": "short"}})["error"]["message"]
    assert "at least 8 characters" in refused
    assert change(cloud, admin.user(), PASSWORD, "short")[0] == 400


def test_expiry(cloud: Cloud, admin: Admin) -> None:
    user = admin.user()
    assert user["password_expires_at"] is not None
    assert login(cloud, user).json()["token"]["user"]["password_expires_at"] == user["password_expires_at"]
    shift(cloud, user, password_expires_at=now(cloud) - timedelta(seconds=1))
    expired = login(cloud, user)
    assert expired.status_code == 401
    assert "expired" in expired.text
    assert "expired" not in login(cloud, user, password="wrong password").text
    assert change(cloud, user, PASSWORD, "new password")[0] == 204
    assert login(cloud, user, password="new password").status_code == 201
    exempt = admin.user(options={"ignore_password_expiry": True})
    assert exempt["password_expires_at"] is None


def test_guesses_sent_all_at_once_lock_too(cloud: Cloud, admin: Admin) -> None:
    user = admin.user()
    with ThreadPoolExecutor(6) as threads:
        wrong = [threads.submit(login, cloud, user, None, f"wrong password {n}") for n in range(6)]
        assert {answer.result().status_code for answer in wrong} == {401}
    assert login(cloud, user).status_code == 401
