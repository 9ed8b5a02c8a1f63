"""A whole network cloud with its real agents, inside fresh network and mount namespaces; prints what was seen as JSON.

Run by test_wire.py under `unshare --net --mount`. The "guest" is a namespace with a veth end; the "internet" is this
namespace's own bridge. Everything is gone when the process ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from cloud import Cloud

SERVICES = ("identity", "network")
SETTLE_S = 20.0
TABLES = {
    "network": {
        "physical_networks": {"public": "br-ex"}, "external_bridges": {}, "masquerade": False, "tunnel_ip": "192.0.2.1",
    }
}


def run(*words: str) -> tuple[int, str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def must(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout  # alone: iproute2 warns on standard error when devices change while it lists them


def until(check: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SETTLE_S
    while not (found := check()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


class World:
    """The host's underlay, and requests to the cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.admin = cloud.admin_token()
        self.tenant = cloud.new_project("alice")[1]

    def ask(self, method: str, path: str, body: Any = None, *, admin: bool = False) -> Any:
        token = self.admin if admin else self.tenant
        answer = self.cloud.request(method, f"/network/v2.0/{path}", token=token, json=body)
        assert answer.status_code < 300, (method, path, answer.text)
        return answer.json() if answer.content else None

    def external(self) -> Any:
        body = {
            "router:external": True, "provider:network_type": "flat", "provider:physical_network": "public",
        }  # fmt: skip
        network = self.ask("POST", "networks", {"network": body}, admin=True)["network"]
        subnet = {
            "network_id": network["id"], "ip_version": 4, "cidr": "203.0.113.0/24", "enable_dhcp": False,
            "allocation_pools": [{"start": "203.0.113.10", "end": "203.0.113.50"}],
        }  # fmt: skip
        self.ask("POST", "subnets", {"subnet": subnet}, admin=True)
        return network

    def guest(self, port: Any) -> None:
        """A namespace on the port's device, as compute would have made a tap."""
        tap = "tap" + port["id"][:11]
        must("ip", "netns", "add", "guest")
        must("ip", "link", "add", tap, "type", "veth", "peer", "name", "g0", "address", port["mac_address"])
        must("ip", "link", "set", tap, "up")
        must("ip", "link", "set", "g0", "netns", "guest")
        must("ip", "-n", "guest", "link", "set", "g0", "up")

    def addressed(self, address: str) -> None:
        must("ip", "-n", "guest", "addr", "add", f"{address}/24", "dev", "g0")
        must("ip", "-n", "guest", "route", "add", "default", "via", "10.0.0.1")


def underlay() -> None:
    must("ip", "link", "set", "lo", "up")
    must("ip", "link", "add", "br-ex", "type", "bridge")
    must("ip", "addr", "add", "203.0.113.1/24", "dev", "br-ex")
    must("ip", "link", "set", "br-ex", "up")
    must("ip", "link", "add", "u0", "type", "veth", "peer", "name", "u1")
    must("ip", "addr", "add", "192.0.2.1/24", "dev", "u0")
    must("ip", "link", "set", "u0", "up")
    must("ip", "link", "set", "u1", "up")


def journey(world: World) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    until(lambda: len(world.ask("GET", "agents", admin=True)["agents"]) == 3)
    network = world.ask("POST", "networks", {"network": {"name": "n"}})["network"]
    body = {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}
    subnet = world.ask("POST", "subnets", {"subnet": body})["subnet"]
    port = world.ask("POST", "ports", {"port": {"network_id": network["id"], "device_owner": "compute:x"}})["port"]
    address = port["fixed_ips"][0]["ip_address"]
    external = world.external()
    router = {"external_gateway_info": {"network_id": external["id"]}}
    router = world.ask("POST", "routers", {"router": router})["router"]
    world.ask("PUT", f"routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    floating = {"floating_network_id": external["id"], "port_id": port["id"]}
    floating = world.ask("POST", "floatingips", {"floatingip": floating})["floatingip"]
    world.ask("PUT", f"ports/{port['id']}", {"port": {"binding:host_id": "test-host"}}, admin=True)
    world.guest(port)
    show = f"ports/{port['id']}"
    seen["port active"] = bool(until(lambda: world.ask("GET", show)["port"]["status"] == "ACTIVE"))
    dhcp = ("ip", "netns", "exec", "guest", "busybox", "udhcpc", "-i", "g0", "-n", "-q", "-t", "5", "-s", "/bin/true")
    seen["lease"] = f"lease of {address} obtained" in run(*dhcp)[1]
    world.addressed(address)
    ping = ("ip", "netns", "exec", "guest", "ping", "-c", "1", "-W", "2")
    seen["internet"] = bool(until(lambda: run(*ping, "203.0.113.1")[0] == 0))
    outer = ("ping", "-c", "1", "-W", "1", floating["floating_ip_address"])
    seen["closed before the rule"] = run(*outer)[0] != 0
    rule = {"security_group_id": port["security_groups"][0], "direction": "ingress", "protocol": "icmp"}
    world.ask("POST", "security-group-rules", {"security_group_rule": rule})
    seen["open after the rule"] = bool(until(lambda: run(*outer)[0] == 0))
    where = f"floatingips/{floating['id']}"
    seen["floating ip active"] = bool(until(lambda: world.ask("GET", where)["floatingip"]["status"] == "ACTIVE"))
    world.ask("DELETE", where)
    world.ask("PUT", f"routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    world.ask("DELETE", f"routers/{router['id']}")
    world.ask("DELETE", show)
    must("ip", "netns", "del", "guest")
    run("ip", "link", "del", "tap" + port["id"][:11])
    world.ask("DELETE", f"networks/{network['id']}")
    world.ask("DELETE", f"networks/{external['id']}", admin=True)
    seen["ports left"] = world.ask("GET", "ports", admin=True)["ports"]
    return seen


def devices() -> set[str]:
    links = {link["ifname"] for link in json.loads(must("ip", "-j", "link"))}
    return links | set(must("ip", "netns").split())


def main(directory: Path) -> None:
    underlay()
    before = devices()
    with Cloud(directory, services=SERVICES, tables=TABLES) as cloud:
        seen = journey(World(cloud))
        until(lambda: devices() == before)
        seen["devices left"] = sorted(devices() - before)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
