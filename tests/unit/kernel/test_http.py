"""The HTTP layer keeps its promises: routes, versions, bodies, policy, faults."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.datastructures import Headers

from pileus.kernel.http.client import InProcessTransport

from .toy import runtime

ADMIN, MEMBER = {"X-Auth-Token": "admin-token"}, {"X-Auth-Token": "member-token"}


class Answer:
    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.status_code, self.headers, self.text = status, Headers(headers), content.decode()

    def json(self) -> Any:
        return msgspec.json.decode(self.text)


class Client:
    """Sends through the in-process transport, as sibling services do."""

    def __init__(self, application: Any) -> None:
        self.transport = InProcessTransport(application)

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, json: Any = None, content: bytes = b""
    ) -> Answer:
        body = content if json is None else msgspec.json.encode(json)
        result = asyncio.run(self.transport.send(method, path, headers or {}, body))
        return Answer(result.status, result.headers, result.body)

    def get(self, path: str, **more: Any) -> Answer:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> Answer:
        return self.request("POST", path, **more)

    def put(self, path: str, **more: Any) -> Answer:
        return self.request("PUT", path, **more)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(runtime(tmp_path).node.application)


def test_an_answer_carries_request_id_and_negotiated_version(client: Client) -> None:
    response = client.get("/books/v1/books/7", headers=MEMBER | {"OpenStack-API-Version": "books 1.2"})
    assert response.status_code == 200
    assert response.json() == {"book": {"id": "7", "user": "ann"}}
    assert response.headers["X-Openstack-Request-Id"].startswith("req-")
    assert response.headers["OpenStack-API-Version"] == "books 1.2"
    assert response.headers["X-Books-Version"] == "1.2"


@pytest.mark.parametrize(
    ("header", "status"),
    [("books 1.9", 406), ("books 0.9", 400), ("books x", 400), ("books latest", 200), ("compute 7.7", 200)],
)
def test_versions_outside_the_range_are_refused(client: Client, header: str, status: int) -> None:
    response = client.get("/books/v1/books/7", headers=MEMBER | {"OpenStack-API-Version": header})
    assert response.status_code == status


def test_without_a_token_nothing_is_told(client: Client) -> None:
    for method, path in (("GET", "/books/v1/books/7"), ("POST", "/books/v1/books"), ("GET", "/books/v1/nothing")):
        assert client.request(method, path).status_code == 401
    assert client.get("/books/v1/books/7", headers={"X-Auth-Token": "x" * 10_000}).status_code == 401


def test_identity_headers_from_outside_change_nothing(client: Client) -> None:
    forged = MEMBER | {"X-Roles": "admin", "X-User-Id": "root", "X-Is-Admin-Project": "True"}
    assert client.post("/books/v1/books/7/action", headers=forged, json={"burn": None}).status_code == 403


def test_policy_refuses_and_names_the_rule(client: Client) -> None:
    response = client.post("/books/v1/books/7/action", headers=MEMBER, json={"burn": None})
    assert response.status_code == 403
    assert "books:burn" in response.json()["forbidden"]["message"]
    assert client.post("/books/v1/books/7/action", headers=ADMIN, json={"burn": None}).status_code == 202


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"{}", 400), (b'{"book": 1}', 400), (b'{"book": {"title": 1}}', 400),
        (b'{"book": {"title": "x", "colour": "red"}}', 400), (b'{"book": {"title": "x"}}', 202),
        (b'{"book": {"title": "' + b"x" * 3000 + b'"}}', 413), (b"\xff\xfe", 400),
        (b'{"book":' * 1 + b"[" * 900 + b"]" * 900 + b"}", 400),
    ],
)
def test_bad_bodies_are_clear_user_errors(client: Client, content: bytes, status: int) -> None:
    assert client.post("/books/v1/books", headers=MEMBER, content=content).status_code == status


@pytest.mark.parametrize(
    ("version", "book", "status"),
    [
        ("1.1", {"title": "x", "tags": []}, 400), ("1.2", {"title": "x", "tags": []}, 202),
        ("1.1", {"title": "x", "shelf": "a"}, 202), ("1.2", {"title": "x", "shelf": "a"}, 400),
        ("1.1", {"title": "x", "authors": [{"name": "n", "born": 1}]}, 400),
        ("1.2", {"title": "x", "authors": [{"name": "n", "born": 1}]}, 202),
    ],
)
def test_fields_exist_only_at_their_versions(client: Client, version: str, book: object, status: int) -> None:
    headers = MEMBER | {"OpenStack-API-Version": f"books {version}"}
    assert client.post("/books/v1/books", headers=headers, json={"book": book}).status_code == status


def test_actions_are_chosen_by_their_key_and_version(client: Client) -> None:
    path = "/books/v1/books/7/action"
    assert client.post(path, headers=ADMIN, json={"fly": None}).status_code == 400
    assert client.post(path, headers=ADMIN, json={"burn": None, "lend": None}).status_code == 400
    assert client.post(path, headers=MEMBER, json={"lend": None}).status_code == 404
    new = MEMBER | {"OpenStack-API-Version": "books 1.2"}
    assert client.post(path, headers=new, json={"lend": None}).status_code == 202


def test_wrong_methods_and_paths(client: Client) -> None:
    response = client.put("/books/v1/books/7", headers=ADMIN)
    assert response.status_code == 405
    assert response.headers["Allow"] == "GET"
    assert client.get("/books/v1/elsewhere", headers=ADMIN).status_code == 404
    assert client.get("/films/v1").status_code == 404


def test_a_broken_handler_is_a_plain_500_without_its_secrets(client: Client) -> None:
    response = client.get("/books/v1/books/special")
    assert response.status_code == 500
    assert "broken" not in response.text
    assert response.headers["X-Openstack-Request-Id"].startswith("req-")


def test_a_forged_request_id_is_not_taken_over(client: Client) -> None:
    response = client.get("/books/v1/books/7", headers=MEMBER | {"X-Openstack-Request-Id": "evil\tline"})
    assert response.headers["X-Openstack-Request-Id"].startswith("req-")
