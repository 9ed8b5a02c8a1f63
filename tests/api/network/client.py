"""A small client of the network API for tests: one caller, bodies in and out."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from typing import Any

from cloud import Cloud

SETTLE_S = 60.0
PLURALS = {"security-groups": "security_group", "security-group-rules": "security_group_rule"}


class Caller:
    """Requests with one token."""

    def __init__(self, cloud: Cloud, token: str | None, project_id: str = "") -> None:
        self.cloud = cloud
        self.token = token
        self.project_id = project_id

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The response."""
        return self.cloud.request(method, f"/network/v2.0/{path}", token=self.token, json=body, **more)

    def ok(self, method: str, path: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        """The decoded body of an answer that must have this status."""
        response = self.send(method, path, body, **more)
        assert response.status_code == status, (method, path, body, response.status_code, response.text)
        return response.json() if response.content else None

    def error(self, method: str, path: str, body: Any, status: int, kind: str) -> str:
        """The message of a fault that must have this status and type."""
        response = self.send(method, path, body)
        assert response.status_code == status, (method, path, body, response.status_code, response.text)
        fault = response.json()["NeutronError"]
        assert (fault["type"], set(fault)) == (kind, {"type", "message", "detail"}), fault
        return fault["message"]

    def make(self, kind: str, **values: Any) -> Any:
        """Create one; `kind` is the collection."""
        singular = PLURALS.get(kind, kind[:-1])
        body = {key.replace("__", ":"): value for key, value in values.items()}
        return self.ok("POST", kind, {singular: body}, 201)[singular]

    def get(self, kind: str, key: str) -> Any:
        return self.ok("GET", f"{kind}/{key}")[PLURALS.get(kind, kind[:-1])]

    def set(self, kind: str, key: str, **values: Any) -> Any:
        singular = PLURALS.get(kind, kind[:-1])
        body = {singular: {name.replace("__", ":"): value for name, value in values.items()}}
        return self.ok("PUT", f"{kind}/{key}", body)[singular]

    def drop(self, kind: str, key: str) -> None:
        self.ok("DELETE", f"{kind}/{key}", status=204)

    def list(self, kind: str, **query: Any) -> list[Any]:
        params = {key.replace("__", ":"): value for key, value in query.items()}
        return self.ok("GET", kind, params=params)[kind.replace("-", "_")]

    def wired(self, cidr: str = "10.0.0.0/24", **values: Any) -> tuple[Any, Any]:
        """A network with a subnet. The first 99 of its addresses are left to those who name one: chance, the DHCP
        agent's port included, takes from the rest."""
        network = self.make("networks", **values)
        pool = ipaddress.ip_network(cidr, strict=False)
        return network, self.make(
            "subnets", network_id=network["id"], ip_version=4, cidr=cidr,
            allocation_pools=[{"start": str(pool[100]), "end": str(pool[-2])}],
        )  # fmt: skip


def eventually(check: Callable[[], Any]) -> Any:
    """The first true answer, within `SETTLE_S`."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        found = check()
        if found or time.monotonic() > deadline:
            assert found, "it did not come to be in time"
            return found
        time.sleep(0.05)
