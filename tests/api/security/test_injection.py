"""What a client names cannot become a header or a second log line."""

from __future__ import annotations

import io
import logging
import socket
from typing import Any

import pytest

from cloud import Cloud
from pileus.kernel.observe import logs

SERVICES = ("identity",)
NEWLINE = "a%0D%0AX-Injected%3A%20yes"


def test_a_tag_in_the_location_header_stays_one_header(cloud: Cloud) -> None:
    admin = cloud.admin_token()
    project, _ = cloud.new_project("tagged")
    for tag in (NEWLINE, "%C3%A9%F0%9F%90%8D", "a%20b", "%25"):
        path = f"/identity/v3/projects/{project}/tags/{tag}"
        answer = cloud.request("PUT", path, token=admin)
        assert answer.status_code in (201, 400), (tag, answer.status_code, answer.text)
        assert "X-Injected" not in answer.headers
        if answer.status_code == 201:
            assert answer.headers["Location"] == cloud.url + path


def _raw(cloud: Cloud, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", cloud.port), timeout=10) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        found = b""
        while block := sock.recv(65_536):
            found += block
    return found


@pytest.fixture
def written() -> Any:
    """What the log of a node would hold."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure()
    stream = io.StringIO()
    assert isinstance(root.handlers[0], logging.StreamHandler)
    root.handlers[0].setStream(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_request_is_one_line_in_the_log(cloud: Cloud, written: io.StringIO) -> None:
    forged = "2030-01-01T00:00:00 CRITICAL forged"
    for control in ("%0a", "%0d%0a", "%0d", "%1b[2J", "%e2%80%a8", "%c2%85"):
        cloud.request("GET", f"/identity/v3/users/x{control}{forged.replace(' ', '%20')}", token="x\tforged")
    cloud.request("GET", "/identity/v3", headers={"X-Openstack-Request-Id": "req-" + "\t" * 36})
    lines = written.getvalue().splitlines()
    assert any("forged" in line for line in lines), "the requests were logged"
    assert not [line for line in lines if line.startswith("2030-01-01")], written.getvalue()
    assert "\x1b" not in written.getvalue()


def test_a_request_that_is_no_http_gets_no_traceback(cloud: Cloud, written: io.StringIO) -> None:
    for request in (
        b"GET /identity/v3 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabc",
        b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: a\r\nContent-Length: 9" + b"9" * 5_000 + b"\r\n\r\n",
        b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /identity/v3 HTTP/1.1\r\nHost: \"\r\nConnection: close\r\n\r\n",
        b"GET /identity/v3 HTTP/1.1\r\nHost: a:b:c/evil\r\nConnection: close\r\n\r\n",
        b"GET /identity/v3/users HTTP/1.1\r\nHost: a\r\nX-Auth-Token: \xff\xfe\r\nConnection: close\r\n\r\n",
        b"GET //identity//v3/..//..//etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ):
        answer = _raw(cloud, request)
        assert not answer.startswith(b"HTTP/1.1 5"), (request[:80], answer[:300])
        assert b"root:" not in answer
    assert "Traceback" not in written.getvalue(), written.getvalue()
