"""No request to any route of any service is a server error, and none leaves a traceback in the log."""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud import Cloud
from pileus.kernel.http.routes import Route
from pileus.services import discover

from .shapes import encoded, hostile_bodies

BUDGET_S = 20.0  # for each of the parts below; an even sample of the corpus is sent within it
SEED = 7
SERVICES = tuple(service.type for service in discover() if service.offered)
VERSIONS = {"compute": ("compute 2.1", "compute latest"), "placement": ("placement latest",)}
IDS = (
    "x", "%00", "%0d%0aX-Injected:%20yes", "%C3%A9%F0%9F%90%8D", "%FF%FE", "..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "a" * 3_000, "9" * 5_000, "9223372036854775808", "-1", "00000000-0000-4000-8000-000000000000", "%25s%25n",
    "%ED%A0%80", "%C2%B2",
)  # fmt: skip
QUERY_VALUES = (
    "", "--5", "-1", "9" * 5_000, "%00", "%FF", "%C2%B2", "%D9%A3", "NaN", "a%0d%0ab", "'%22;--", "((((((a+)+)+)+)+)+$",
    "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00%2B14:00", "in:", "in:%22", "gt:x", "%ED%A0%80",
)  # fmt: skip
QUERY_NAMES = (
    "limit", "marker", "sort_key", "sort_dir", "sort", "name", "id", "project_id", "all_tenants", "host", "ip", "ip6",
    "status", "changes-since", "changes-before", "created_at", "updated_at", "size_min", "size_max", "tags", "tag",
    "metadata", "start", "end", "detailed", "minRam", "minDisk", "is_public", "resources", "resources1", "required",
    "member_of", "in_tree", "group_policy", "root_required", "same_subtree", "uuid", "visibility", "protected",
    "os_hidden", "owner", "deleted", "power_state", "launch_index", "config_drive", "locked", "user_id", "domain_id",
    "enabled", "expires_at", "password_expires_at", "effective", "include_names", "scope.project.id", "binary",
    "hypervisor_hostname_pattern", "with_servers", "reservation_id", "flavor", "image", "tenant_id", "nocatalog",
)  # fmt: skip
RAW = (
    b"", b"null", b"[]", b"5", b'"x"', b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{}", b"[" * 50_000, b'{"a":' * 20_000,
    b'{"a":NaN}', b'{"a":1e999}', b'{"\\ud800":"\\udfff"}', b'{"server":"\\ud800"}', b'{"a":1,"a":2}',
    b'{"auth":{"identity":{"methods":["\\ud800"],"password":{"user":{"id":"\\ud800","password":"\\ud800"}}}}}',
    b'[{"op":"replace","path":"/\\ud800","value":1}]', b'[{"op":"add","path":"/a/b/c","value":{"a":[1]}}]',
    b'{"tags":["\\ud800"]}', b'{"name":"\\u0000","disk_format":5}', b'{"name":1' + b"0" * 5_000 + b"}",
)  # fmt: skip


class _Tracebacks(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or "Traceback" in record.getMessage():
            self.seen.append(logging.Formatter().format(record)[-1_500:])


@pytest.fixture
def tracebacks() -> Iterator[list[str]]:
    handler = _Tracebacks()
    logging.getLogger().addHandler(handler)
    yield handler.seen
    logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="module")
def tokens(cloud: Cloud) -> tuple[str, str]:
    """An administrator's, so that nothing stops at policy; and a member's."""
    return cloud.admin_token(), cloud.new_project("fuzzer")[1]


Sent = tuple[str, Route, str, bytes | None]


def _routes(cloud: Cloud) -> list[tuple[str, Any, Route]]:
    # What ends the tokens that the test works with is not called.
    return [
        (service.path.rstrip("/"), service, route)
        for service in cloud.services
        for route in service.routes
        if "revoke" not in route.path and not (route.method == "DELETE" and "auth/tokens" in route.path)
    ]


def _path(route: Route, value: str) -> str:
    parts = [value if part.startswith("{") else part for part in route.path.split("/")]
    return "/".join(parts)


def _bodies(cloud: Cloud) -> Iterator[Sent]:
    for prefix, _, route in _routes(cloud):
        if route.body is not None:
            for body in hostile_bodies(route.body, route.envelope, route.action):
                yield prefix, route, "fuzz", encoded(body)
        if route.method in ("POST", "PUT", "PATCH"):
            for raw in RAW:
                yield prefix, route, "fuzz", raw


def _ids(cloud: Cloud) -> Iterator[Sent]:
    for prefix, _, route in _routes(cloud):
        if "{" in route.path:
            for value in IDS:
                yield prefix, route, value, b"{}" if route.method in ("POST", "PUT", "PATCH") else None


def _queries(cloud: Cloud) -> Iterator[Sent]:
    for prefix, service, route in _routes(cloud):
        if route.method == "GET" and not route.path.endswith("}"):
            for name in _read_by(service):
                for value in QUERY_VALUES:
                    yield prefix, route, f"fuzz?{name}={value}", None


def _read_by(service: Any) -> list[str]:
    """Those of the names that stand in the service's sources."""
    module = service.routes[0].handler.__module__.rsplit(".api", 1)[0]
    folder = Path(str(sys.modules[module].__file__)).parent
    text = "".join(path.read_text() for path in folder.rglob("*.py"))
    return [name for name in QUERY_NAMES if f'"{name}"' in text]


PARTS = {"bodies": _bodies, "ids": _ids, "queries": _queries}


@pytest.mark.parametrize("part", PARTS)
def test_no_request_is_a_server_error(
    cloud: Cloud, tokens: tuple[str, str], tracebacks: list[str], part: str
) -> None:
    corpus = list(PARTS[part](cloud))
    random.Random(SEED).shuffle(corpus)  # an even sample, the same each time
    broken: dict[tuple[str, str], str] = {}
    deadline, sent = time.monotonic() + BUDGET_S, 0
    for prefix, route, value, body in corpus:
        if time.monotonic() > deadline:
            break
        sent += 1
        answer = _send(cloud, tokens[sent % 7 == 0], prefix, route, value, body)
        if answer.status_code >= 500:
            key = (route.method, prefix + route.path)
            broken.setdefault(key, f"{answer.status_code} {value[:90]!r} {(body or b'')[:200]!r} {answer.text[:200]}")
        assert "X-Injected" not in answer.headers, (route, value)
    print(f"{part}: {sent} of {len(corpus)} requests", file=sys.stderr)
    assert not broken, "\n".join(f"{key}: {text}" for key, text in broken.items())
    assert not tracebacks, "\n".join(dict.fromkeys(tracebacks))


def _send(cloud: Cloud, token: str, prefix: str, route: Route, value: str, body: bytes | None) -> Any:
    value, _, query = value.partition("?")
    offered = VERSIONS.get(prefix.strip("/"), ("",))
    headers = {"Content-Type": "application/json"}
    if route.method == "PATCH" and prefix == "/image":
        headers["Content-Type"] = "application/openstack-images-v2.1-json-patch"
    if offered[-1]:
        headers["OpenStack-API-Version"] = offered[len(route.path) % len(offered)]
    path = prefix + _path(route, value) + (f"?{query}" if query else "")
    return cloud.request(route.method, path, token=token, data=body, headers=headers, allow_redirects=False)
