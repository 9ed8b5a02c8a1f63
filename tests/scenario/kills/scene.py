"""A cloud with networks to build servers in, and what a test of kills asks of it over and over."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pileus.cli.api import Api, ApiError
from tests.scenario.cloud.installation import Installation, wait_for
from tests.scenario.compute_host.private_host import GUEST_IMAGE
from tests.scenario.kills import world
from tests.scenario.kills.boundaries import Boundary, Trap
from tests.verified import assert_clean

# Generous: the machine may do other things, and an emulated guest boots ten times slower then.
DEATH_LIMIT_S = 180.0
FINAL_LIMIT_S = 300.0
ANSWER_LIMIT_S = 240.0
CLEAN_LIMIT_S = 120.0
READY_LIMIT_S = 120.0
NETWORK_AGENTS = 3
OWN_PORTS = {"network:dhcp": 2, "network:router_interface": 1, "network:router_gateway": 1}  # of the scene
EQUAL_LOOKS = 5  # at half a second each
LOG_TAIL_LINES = 60
JOURNAL = (
    "select f.seq, f.name, f.resource_id, f.state, j.step, j.event, j.at, j.duration_ms, j.detail "
    "from flows f left join flow_journal j on j.flow_id = f.id where f.seq > (select max(seq) - 4 from flows) "
    "order by f.seq, j.seq"
)


class Scene:
    """One cloud, its admin, a private network behind a router, a second one without, and an external one."""

    def __init__(self, cloud: Installation, trap: Trap) -> None:
        self.cloud = cloud
        self.trap = trap
        self.api = Api("http://127.0.0.1:8900")
        self.baseline: world.World = {}
        self.image = self.flavor = self.routed = self.apart = self.external = ""

    # -- making ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """`pileus up`, and a token that it takes."""
        self.cloud.pileus("up")
        if not self.api.token:
            self.api.log_in("admin", self.cloud.secret("admin-password"), "admin")

    def furnish(self) -> None:
        """Flavor, image, networks, router, rules; then wait until the host takes guests."""
        flavor = {"name": "small", "vcpus": 1, "ram": 128, "disk": 1}
        self.flavor = self.api.post("/compute/v2.1/flavors", {"flavor": flavor})["flavor"]["id"]
        self.image = self.upload(GUEST_IMAGE, "guest")
        self.external = self._network("public", "172.24.4.0/24", **{
            "router:external": True, "provider:network_type": "flat", "provider:physical_network": "public",
        })  # fmt: skip
        self.routed = self._network("routed", "10.0.0.0/24")
        self.apart = self._network("apart", "10.1.0.0/24")
        router = {"name": "router", "external_gateway_info": {"network_id": self.external}}
        made = self.api.post("/network/v2.0/routers", {"router": router})["router"]
        subnet = self.api.get("/network/v2.0/subnets", network_id=self.routed)["subnets"][0]
        self.api.put(f"/network/v2.0/routers/{made['id']}/add_router_interface", {"subnet_id": subnet["id"]})
        group = self.api.get("/network/v2.0/security-groups", name="default", project_id=self.api.project_id)
        rule = {"security_group_id": group["security_groups"][0]["id"], "direction": "ingress"}
        self.api.post("/network/v2.0/security-group-rules", {"security_group_rule": rule})
        for network in (self.routed, self.apart):  # its first port brings a network its address service
            self.api.post("/network/v2.0/ports", {"port": {"network_id": network, "name": "first"}})
        self.wait_ready()

    def upload(self, file: Path, name: str) -> str:
        """An image of that file."""
        body = {"name": name, "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
        made = self.api.post("/image/v2/images", body)
        with file.open("rb") as content:
            self.api.upload(f"/image/v2/images/{made['id']}/file", content, file.stat().st_size)
        return made["id"]

    def _network(self, name: str, cidr: str, **more: Any) -> str:
        made = self.api.post("/network/v2.0/networks", {"network": {"name": name, **more}})["network"]
        subnet = {"network_id": made["id"], "ip_version": 4, "cidr": cidr, "enable_dhcp": name != "public"}
        self.api.post("/network/v2.0/subnets", {"subnet": subnet})
        return made["id"]

    def wait_ready(self) -> None:
        """Until a compute host and the agents of the network report."""

        def ready() -> bool:
            hosts = self.api.get("/compute/v2.1/os-hypervisors/detail")["hypervisors"]
            agents = self.api.get("/network/v2.0/agents")["agents"]
            up = any(host["state"] == "up" and host["status"] == "enabled" for host in hosts)
            return up and sum(agent["alive"] for agent in agents) >= NETWORK_AGENTS

        wait_for("a host that takes guests", ready, READY_LIMIT_S)

    def new_address(self) -> tuple[str, str]:
        """A port that the user makes in the routed network, with a floating address: (port, address)."""
        port = self.api.post("/network/v2.0/ports", {"port": {"network_id": self.routed, "name": "mine"}})["port"]
        body = {"floating_network_id": self.external, "port_id": port["id"]}
        made = self.api.post("/network/v2.0/floatingips", {"floatingip": body})
        return port["id"], made["floatingip"]["floating_ip_address"]

    def ask_server(self, name: str, *nics: dict[str, str], image: str = "", **more: Any) -> str:
        """Have a server made; its id, which the cloud has accepted then."""
        body = {"name": name, "imageRef": image or self.image, "flavorRef": self.flavor, "networks": nics, **more}
        return self.api.post("/compute/v2.1/servers", {"server": body})["server"]["id"]

    def ask_delete(self, server_id: str) -> None:
        """Have it deleted."""
        self.api.delete(f"/compute/v2.1/servers/{server_id}")

    def act(self, server_id: str, action: dict[str, Any]) -> None:
        """A server's action."""
        self.api.post(f"/compute/v2.1/servers/{server_id}/action", action)

    # -- seeing ----------------------------------------------------------------------------------------------

    def server(self, server_id: str) -> dict[str, Any]:
        """The server as its owner sees it; status GONE when there is none."""
        try:
            return self.api.get(f"/compute/v2.1/servers/{server_id}")["server"]
        except ApiError as error:
            if error.status != 404:
                raise
            return {"status": "GONE"}

    def final(self, server_id: str, limit_s: float = FINAL_LIMIT_S) -> dict[str, Any]:
        """The server once nobody works on it any more."""

        def settled() -> dict[str, Any] | None:
            server = self.server(server_id)
            working = server["status"] == "BUILD" or server.get("OS-EXT-STS:task_state") is not None
            return None if working else server

        found = wait_for(f"server {server_id} ends", settled, limit_s)
        if found["status"] == "ERROR":
            assert found["fault"]["message"], found
        return found

    def answers(self, address: str) -> None:
        """Wait until the address answers a ping."""
        ping = ("ping", "-c", "1", "-W", "2", address)
        wait_for(f"an answer of {address}", lambda: subprocess.run(ping, capture_output=True).returncode == 0,
                 ANSWER_LIMIT_S)  # fmt: skip

    def look(self) -> world.World:
        """The world as it is."""
        return world.look(self.cloud.state)

    def settle(self) -> None:
        """Take what is now, once it rests, as the world to which everything must come back."""
        wait_for("the networks' own ports wired", self._wired, READY_LIMIT_S)
        looks = [self.look()]

        def rests() -> bool:
            looks.append(self.look())
            return len(looks) > EQUAL_LOOKS and all(look == looks[-1] for look in looks[-EQUAL_LOOKS:])

        wait_for("a world at rest", rests, CLEAN_LIMIT_S)
        self.baseline = looks[-1]

    def _wired(self) -> bool:
        """Whether every router and address service works whose port there is, and none is missing."""
        ports = self.api.get("/network/v2.0/ports")["ports"]
        status = {owner: [port["status"] for port in ports if port["device_owner"] == owner] for owner in OWN_PORTS}
        return all(status[owner] == ["ACTIVE"] * count for owner, count in OWN_PORTS.items())

    def nothing_is_left(self, besides: str | None = None) -> None:
        """The world is as `settle` found it, but for differences that contain `besides`."""
        left: list[str] = []

        def clean() -> bool:
            found = world.difference(self.baseline, self.look())
            left[:] = [line for line in found if besides is None or besides not in line]
            return not left

        try:
            wait_for("the world as it was before", clean, CLEAN_LIMIT_S)
        except AssertionError:
            raise AssertionError("left behind or lost:\n" + "\n".join(left)) from None

    def runs(self, server_id: str) -> bool:
        """Whether the server's guest runs."""
        return f"guest {server_id}" in self.look()["processes"]

    def verify(self) -> None:
        """Nothing is found by the operator's own comparison either."""
        assert_clean(self.cloud.state, config=self.cloud.config)

    # -- killing ---------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The cloud's process."""
        return int((self.cloud.state / "run" / "pileus.pid").read_text())

    def die_at(self, boundary: Boundary, cause: Callable[[], Any]) -> Any:
        """Do what leads there, and see the process die; what `cause` answered. Starts nothing again."""
        pid = self.pid
        self.trap.arm(boundary)
        answer = cause()
        wait_for(f"death {boundary}", lambda: self.trap.sprung, DEATH_LIMIT_S)
        wait_for(f"the end of process {pid}", lambda: has_ended(pid), DEATH_LIMIT_S)
        return answer

    # -- when it went wrong ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Add to a failure inside what journal, log and world say."""
        try:
            yield
        except (AssertionError, ApiError, OSError) as error:
            raise AssertionError(f"{what}: {error}\n{self.dump()}") from error

    def dump(self) -> str:
        """Flows with their journals, the end of the log, the world against the baseline."""
        tail = [line for line in self._log().splitlines() if "pileus.access" not in line]
        parts = ["-- journal", *self._journal(), "-- log", *tail[-LOG_TAIL_LINES:],
                 "-- world against the baseline", *world.difference(self.baseline, self.look())]  # fmt: skip
        return "\n".join(parts)

    def _log(self) -> str:
        try:
            return (self.cloud.state / "log" / "pileus.log").read_text(errors="replace")
        except OSError as error:  # the disk that it was on was cut off
            return f"no log: {error}"

    def _journal(self) -> list[str]:
        file = self.cloud.state / "db" / "compute.sqlite"
        if not file.exists():
            return []
        try:
            with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as database:
                return [" ".join(str(value) for value in row) for row in database.execute(JOURNAL)]
        except sqlite3.Error as error:
            return [f"no journal: {error}"]


def has_ended(pid: int) -> bool:
    """Whether the process is no more, or dead and only not waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
