"""A small client of the placement API for these tests: real HTTP, one token, a version per request."""

from __future__ import annotations

import uuid
from typing import Any

import requests

from cloud import Cloud

LATEST = "1.39"


def new_id() -> str:
    return str(uuid.uuid4())


class Placement:
    """Requests as one user of the cloud."""

    def __init__(self, cloud: Cloud, token: str | None) -> None:
        self.cloud = cloud
        self.token = token

    def send(self, method: str, path: str, body: Any = None, *, version: str | None = LATEST) -> requests.Response:
        headers = {"OpenStack-API-Version": f"placement {version}"} if version else {}
        return self.cloud.request(method, "/placement" + path, token=self.token, json=body, headers=headers)

    def ok(self, method: str, path: str, body: Any = None, *, version: str = LATEST) -> Any:
        """The answer's body; the request must succeed."""
        response = self.send(method, path, body, version=version)
        assert response.status_code < 300, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def error(self, method: str, path: str, body: Any = None, *, version: str = LATEST) -> tuple[int, str, str]:
        """Status, code and text of a request that must fail in the documented shape."""
        response = self.send(method, path, body, version=version)
        assert response.status_code >= 400, f"{method} {path}: {response.status_code} {response.text}"
        (fault,) = response.json()["errors"]
        assert fault["status"] == response.status_code
        assert fault["title"]
        assert fault["request_id"] == response.headers["X-Openstack-Request-Id"]
        return response.status_code, fault["code"], fault["detail"]

    def provider(
        self, name: str | None = None, *, parent: str | None = None, inventory: dict[str, Any] | None = None,
        traits: tuple[str, ...] = (), aggregates: tuple[str, ...] = (),
    ) -> str:
        """A new provider; inventories are totals or whole records. Returns its uuid."""
        body = {"name": name or f"host-{new_id()}"} | ({"parent_provider_uuid": parent} if parent else {})
        made = self.ok("POST", "/resource_providers", body)
        own, generation = f"/resource_providers/{made['uuid']}", made["generation"]
        if inventory:
            records = {key: item if isinstance(item, dict) else {"total": item} for key, item in inventory.items()}
            body = {"resource_provider_generation": generation, "inventories": records}
            generation = self.ok("PUT", own + "/inventories", body)["resource_provider_generation"]
        if traits:
            body = {"resource_provider_generation": generation, "traits": list(traits)}
            generation = self.ok("PUT", own + "/traits", body)["resource_provider_generation"]
        if aggregates:
            body = {"resource_provider_generation": generation, "aggregates": list(aggregates)}
            self.ok("PUT", own + "/aggregates", body)
        return made["uuid"]

    def claim_body(
        self, shares: dict[str, dict[str, int]], generation: int | None = None, **more: Any
    ) -> dict[str, Any]:
        return {
            "allocations": {provider: {"resources": amounts} for provider, amounts in shares.items()},
            "project_id": "p1", "user_id": "u1", "consumer_generation": generation, "consumer_type": "INSTANCE", **more,
        }

    def claim(self, shares: dict[str, dict[str, int]], consumer: str | None = None, **more: Any) -> str:
        """Claim for a (new) consumer; returns its uuid."""
        consumer = consumer or new_id()
        self.ok("PUT", f"/allocations/{consumer}", self.claim_body(shares, **more))
        return consumer

    def used(self, provider: str) -> dict[str, int]:
        return self.ok("GET", f"/resource_providers/{provider}/usages")["usages"]

    def candidates(self, query: str, *, version: str = LATEST) -> list[dict[str, dict[str, int]]]:
        """Amounts by provider and class of each candidate."""
        found = self.ok("GET", f"/allocation_candidates?{query}", version=version)["allocation_requests"]
        return [{uuid: line["resources"] for uuid, line in item["allocations"].items()} for item in found]
