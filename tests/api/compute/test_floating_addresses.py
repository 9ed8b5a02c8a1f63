"""Floating addresses appear with servers, in lists too, as soon as they lead there, and go as soon as they do not."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from actors import WAIT_S, Shop

from pileus.services.compute.worker.agent import ComputeAgent

AT_ONCE_S = 2.0  # generous for a busy machine; the periodic look at all servers comes every 120 s


class Outside:
    """An external network that the shop's network is routed to."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.user = shop, shop.user
        external = shop.admin.network("POST", "/networks", {"network": {"name": "outside", "router:external": True}})
        self.network = external.json()["network"]["id"]
        subnet = {"network_id": self.network, "cidr": "198.51.100.0/24", "ip_version": 4, "enable_dhcp": False}
        assert shop.admin.network("POST", "/subnets", {"subnet": subnet}).status_code == 201
        gateway = {"network_id": self.network}
        made = self.user.network("POST", "/routers", {"router": {"name": "r", "external_gateway_info": gateway}})
        self.router = made.json()["router"]["id"]
        self.inside = self.user.network("GET", f"/subnets?network_id={shop.network}").json()["subnets"][0]["id"]
        path = f"/routers/{self.router}/add_router_interface"
        assert self.user.network("PUT", path, {"subnet_id": self.inside}).status_code == 200

    def remove(self) -> None:
        path = f"/routers/{self.router}/remove_router_interface"
        assert self.user.network("PUT", path, {"subnet_id": self.inside}).status_code == 200
        assert self.user.network("DELETE", f"/routers/{self.router}").status_code == 204
        assert self.shop.admin.network("DELETE", f"/networks/{self.network}").status_code == 204

    def port_of(self, server: str) -> str:
        return self.user.network("GET", f"/ports?device_id={server}").json()["ports"][0]["id"]

    def lead(self, port: str) -> tuple[str, str]:
        """A new floating IP to a port; its id and address."""
        body = {"floatingip": {"floating_network_id": self.network, "port_id": port}}
        answer = self.user.network("POST", "/floatingips", body)
        assert answer.status_code == 201, answer.text
        return answer.json()["floatingip"]["id"], answer.json()["floatingip"]["floating_ip_address"]

    def change(self, floating: str, port: str | None) -> None:
        answer = self.user.network("PUT", f"/floatingips/{floating}", {"floatingip": {"port_id": port}})
        assert answer.status_code == 200, answer.text

    def release(self, floating: str) -> None:
        assert self.user.network("DELETE", f"/floatingips/{floating}").status_code == 204

    def until_listed(self, server: str, floating: list[str], timeout_s: float = AT_ONCE_S) -> None:
        """The detailed list has exactly these floating addresses with the server; nothing else is asked."""
        deadline = time.monotonic() + timeout_s
        while True:
            (found,) = [s for s in self.user.get("/servers/detail")["servers"] if s["id"] == server]
            shown = [
                a["addr"] for a in found["addresses"].get("shop-net", ()) if a["OS-EXT-IPS:type"] == "floating"
            ]
            if shown == floating:
                return
            assert time.monotonic() < deadline, found["addresses"]
            time.sleep(0.02)


@pytest.fixture(scope="module")
def outside(shop: Shop) -> Iterator[Outside]:
    made = Outside(shop)
    yield made
    made.remove()


def test_lists_and_shows_have_it_at_once_and_lose_it_at_once(shop: Shop, outside: Outside) -> None:
    first, second = shop.boot("public-1"), shop.boot("public-2")
    for server in (first, second):
        shop.admin.until_status(server, "ACTIVE")
    floating, address = outside.lead(outside.port_of(first))
    outside.until_listed(first, [address])
    kinds = [a["OS-EXT-IPS:type"] for a in shop.user.server(first)["addresses"]["shop-net"]]
    assert kinds == ["fixed", "floating"]
    outside.change(floating, outside.port_of(second))
    outside.until_listed(second, [address])
    outside.until_listed(first, [])
    outside.change(floating, None)
    outside.until_listed(second, [])
    outside.change(floating, outside.port_of(first))
    outside.until_listed(first, [address])
    outside.release(floating)
    outside.until_listed(first, [])
    assert [a["OS-EXT-IPS:type"] for a in shop.user.server(first)["addresses"]["shop-net"]] == ["fixed"]
    for server in (first, second):
        shop.user.delete(server)


def test_a_server_made_of_a_port_with_a_floating_ip_shows_it(shop: Shop, outside: Outside) -> None:
    made = shop.user.network("POST", "/ports", {"port": {"network_id": shop.network}})
    port = made.json()["port"]["id"]
    floating, address = outside.lead(port)
    server = shop.boot("of a port", networks=[{"port": port}])
    shop.admin.until_status(server, "ACTIVE")
    outside.until_listed(server, [address])
    outside.release(floating)
    shop.user.delete(server)
    shop.user.network("DELETE", f"/ports/{port}")


def test_what_changes_while_the_server_is_worked_on_shows_soon_after(shop: Shop, outside: Outside) -> None:
    server = shop.boot("worked on")
    shop.admin.until_status(server, "ACTIVE")
    hypervisor = shop.cloud.node.runtimes["compute"].get(ComputeAgent).hypervisor
    hypervisor.latency_s = 0.5
    try:
        assert shop.user.act(server, "os-stop").status_code == 202
        floating, address = outside.lead(outside.port_of(server))
        assert shop.admin.server(server)["OS-EXT-STS:task_state"] == "powering-off"
    finally:
        hypervisor.latency_s = 0.0
    shop.admin.until_status(server, "SHUTOFF")
    outside.until_listed(server, [address], timeout_s=WAIT_S)
    outside.release(floating)
    outside.until_listed(server, [])
    shop.user.delete(server)
