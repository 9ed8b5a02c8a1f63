"""A small client of the cloud's public API, for the operator's own commands."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, BinaryIO

import msgspec

TIMEOUT_S = 60.0


class ApiError(RuntimeError):
    """An answer from 400 up: `status`, and the service's text."""

    def __init__(self, method: str, path: str, status: int, text: str) -> None:
        super().__init__(f"{method} {path} answered {status}: {text[:500]}")
        self.status = status


class Api:
    """Talks to one cloud as one user. Paths begin with the service's mount: `/compute/v2.1/servers`. url: where all
    services are, but for those that `roots` names. timeout_s: for each request."""

    def __init__(self, url: str, roots: Mapping[str, str] | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url
        self._roots = dict(roots or {})
        self._timeout_s = timeout_s
        self.token = ""
        self.project_id = ""

    def log_in(self, username: str, password: str, project: str) -> None:
        """Get a token for a project of the default domain."""
        user = {"name": username, "password": password, "domain": {"id": "default"}}
        auth = {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": project, "domain": {"id": "default"}}},
        }
        headers, body = self._send("POST", "/identity/v3/auth/tokens", {"auth": auth})
        self.token = headers["X-Subject-Token"]
        self.project_id = body["token"]["project"]["id"]

    def get(self, path: str, **query: Any) -> Any:
        """The decoded body of a GET."""
        return self._send("GET", path + ("?" + urllib.parse.urlencode(query) if query else ""))[1]

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """The decoded body of a POST."""
        return self._send("POST", path, body, headers)[1]

    def put(self, path: str, body: Any = None) -> Any:
        """The decoded body of a PUT."""
        return self._send("PUT", path, body)[1]

    def delete(self, path: str) -> None:
        """A DELETE; already gone is fine."""
        try:
            self._send("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise

    def upload(self, path: str, content: BinaryIO, size: int) -> None:
        """PUT a file."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._send("PUT", path, content, headers)

    def find(self, path: str, key: str, **attributes: Any) -> dict[str, Any] | None:
        """The first item of a list whose attributes have these values, or None."""
        for item in self.get(path)[key]:
            if all(item.get(name) == value for name, value in attributes.items()):
                return item
        return None

    def _send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[Any, Any]:
        sent = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
        if self.token:
            sent["X-Auth-Token"] = self.token
        data = body if body is None or hasattr(body, "read") else msgspec.json.encode(body)
        request = urllib.request.Request(self._address(path), data=data, headers=sent, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as response:  # noqa: S310
                content = response.read()
                return response.headers, msgspec.json.decode(content) if content else None
        except urllib.error.HTTPError as error:
            raise ApiError(method, path, error.code, error.read().decode(errors="replace")) from None

    def _address(self, path: str) -> str:
        _, service, rest = f"{path}/".split("/", 2)
        root = self._roots.get(service)
        return self.url + path if root is None else f"{root}/{rest.removesuffix('/')}"
