"""Users of the compute API in tests: a project with an image, a network and a flavor, and short ways to ask."""

from __future__ import annotations

import time
from typing import Any

from cloud import Cloud

WAIT_S = 30.0


class Actor:
    """One token. Paths are from the compute service's versioned root."""

    def __init__(self, cloud: Cloud, token: str, project_id: str = "", version: str = "2.96") -> None:
        self.cloud, self.token, self.project_id, self.version = cloud, token, project_id, version

    def ask(self, method: str, path: str, body: Any = None, *, version: str | None = None, **more: Any):
        headers = {"OpenStack-API-Version": f"compute {version or self.version}"}
        return self.cloud.request(
            method, "/compute/v2.1" + path, token=self.token, json=body, headers=headers, **more
        )

    def get(self, path: str, *, version: str | None = None) -> Any:
        answer = self.ask("GET", path, version=version)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def boot(self, name: str, *, version: str | None = None, hints: dict | None = None, **values: Any):
        """POST /servers; returns the response."""
        body: dict[str, Any] = {"server": {"name": name, **values}}
        if hints:
            body["os:scheduler_hints"] = hints
        return self.ask("POST", "/servers", body, version=version)

    def server(self, server_id: str, *, version: str | None = None) -> dict[str, Any]:
        return self.get(f"/servers/{server_id}", version=version)["server"]

    def act(self, server_id: str, action: str, value: Any = None, *, version: str | None = None):
        return self.ask("POST", f"/servers/{server_id}/action", {action: value}, version=version)

    def until_status(self, server_id: str, *wanted: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """The server once it has one of these statuses and nothing is being done to it."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.server(server_id)
            if found["status"] in wanted and found["OS-EXT-STS:task_state"] is None:
                return found
            assert time.monotonic() < deadline, f"still {found['status']} {found['OS-EXT-STS:task_state']}"
            assert found["status"] != "ERROR" or "ERROR" in wanted, found.get("fault")
            time.sleep(0.05)

    def until_gone(self, server_id: str, timeout_s: float = WAIT_S) -> None:
        deadline = time.monotonic() + timeout_s
        while self.ask("GET", f"/servers/{server_id}").status_code != 404:
            assert time.monotonic() < deadline, "the server is still there"
            time.sleep(0.05)

    def delete(self, server_id: str) -> None:
        """Delete and wait."""
        answer = self.ask("DELETE", f"/servers/{server_id}")
        assert answer.status_code == 204, answer.text
        self.until_gone(server_id)

    def network(self, method: str, path: str, body: Any = None):
        return self.cloud.request(method, "/network/v2.0" + path, token=self.token, json=body)


def make_image(cloud: Cloud, token: str, name: str, *, content: bytes = b"\0" * 65_536, **values: Any) -> str:
    """An active raw image; returns its id."""
    body = {"name": name, "disk_format": "raw", "container_format": "bare", **values}
    made = cloud.request("POST", "/image/v2/images", token=token, json=body)
    assert made.status_code == 201, made.text
    path = f"/image/v2/images/{made.json()['id']}"
    headers = {"Content-Type": "application/octet-stream"}
    sent = cloud.request("PUT", path + "/file", token=token, data=content, headers=headers)
    assert sent.status_code == 204, sent.text
    return made.json()["id"]


def make_network(actor: Actor, name: str, cidr: str = "10.20.0.0/24") -> str:
    """A network with one subnet; returns its id."""
    made = actor.network("POST", "/networks", {"network": {"name": name}})
    assert made.status_code == 201, made.text
    network_id = made.json()["network"]["id"]
    subnet = {"network_id": network_id, "cidr": cidr, "ip_version": 4}
    answer = actor.network("POST", "/subnets", {"subnet": subnet})
    assert answer.status_code == 201, answer.text
    return network_id


class Shop:
    """What a test boots servers with."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.admin = Actor(cloud, cloud.admin_token())
        project, token = cloud.new_project("shop")
        self.user = Actor(cloud, token, project)
        self.flavor = self.make_flavor("shop.tiny", ram=64, vcpus=1, disk=1)
        self.image = make_image(cloud, self.admin.token, "shop", visibility="public")
        self.network = make_network(self.user, "shop-net")
        self.wait_for_host()

    def make_flavor(self, name: str, **values: Any) -> str:
        made = self.admin.ask("POST", "/flavors", {"flavor": {"name": name, **values}})
        assert made.status_code == 200, made.text
        return made.json()["flavor"]["id"]

    def wait_for_host(self) -> None:
        """The agent has reported, and placement knows what it has."""
        deadline = time.monotonic() + WAIT_S
        while True:
            found = self.admin.get("/os-hypervisors/detail")["hypervisors"]
            if found and found[0]["state"] == "up":
                path = f"/placement/resource_providers/{found[0]['id']}/inventories"
                answer = self.cloud.request("GET", path, token=self.admin.token)
                if answer.status_code == 200 and answer.json()["inventories"]:
                    return
            assert time.monotonic() < deadline, "no compute host came up"
            time.sleep(0.05)

    def boot(self, name: str, actor: Actor | None = None, **values: Any) -> str:
        """Boot with the usual things; returns the server's id at once."""
        answer = self.try_boot(name, actor, **values)
        assert answer.status_code == 202, answer.text
        return answer.json()["server"]["id"]

    def try_boot(self, name: str, actor: Actor | None = None, **values: Any):
        usual: dict[str, Any] = {
            "flavorRef": self.flavor, "imageRef": self.image, "networks": [{"uuid": self.network}],
        }
        return (actor or self.user).boot(name, **(usual | values))
