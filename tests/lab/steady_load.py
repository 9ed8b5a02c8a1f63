"""A steady load on a cloud: a boot and a delete a second, five lists a second, through its public address.

    with SteadyLoad(lab) as load:
        load.begin()
        ...
        record = load.rest()        # all that was asked has ended; what was asked, answered and made
        left = load.clear()         # everything is deleted; what there is still

It runs as a process of its own in the network of the lab's admin host (`python -m tests.lab.steady_load`), is told what
to do by lines on its standard input, and ends with it.
"""

from __future__ import annotations

import http.client
import io
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import msgspec
import yaml

from pileus.cli.api import Api, ApiError
from pileus.lab import configure, hosts
from pileus.lab import lab as labs
from pileus.lab import layout as layouts
from pileus.lab.addresses import front
from tests.lab.rehearsal import ROOT, Rehearsal, until

BOOT_EVERY_S = 1.0
LIST_EVERY_S = 0.2
LIFE_S = 4.0
"""How long a server is left alone once it is ACTIVE."""
GIVE_UP_S = 20.0
"""When the client gives a call up."""
WORKERS = 128
END_LIMIT_S = 300.0
LISTS = {
    "identity": "/identity/v3/projects", "placement": "/placement/resource_providers", "image": "/image/v2/images",
    "network": "/network/v2.0/networks", "compute": "/compute/v2.1/servers/detail?limit=1000",
}
UNANSWERED = (OSError, http.client.HTTPException, msgspec.DecodeError)
NAME = "steady"


class Call(msgspec.Struct, frozen=True):
    """One request. what: `boot`, `delete`, or the API whose list it was. begun, ended: monotonic seconds. status: 0
    when there was no answer. said: why it failed."""

    what: str
    begun: float
    ended: float
    status: int
    said: str = ""

    @property
    def good(self) -> bool:
        """Whether it was accepted, or answered."""
        return 200 <= self.status < 300


class Boot(msgspec.Struct):
    """A server that was asked for, by name. id: empty when there was no answer. ids: those of all servers that ever had
    its name. ended: when it was first seen in a final state. state: the last one seen; GONE when it was and is not.
    deleting: a delete is under way or was accepted. delete_asked: also one that got no answer."""

    asked: float
    id: str = ""
    ids: set[str] = set()
    ended: float = 0.0
    state: str = ""
    fault: str = ""
    delete_accepted: bool = False
    deleting: bool = False
    delete_asked: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing is still to come of it."""
        if self.state in ("ACTIVE", "ERROR"):
            return not self.delete_accepted
        return self.state == "GONE" or (not self.state and not self.id)


class Server(msgspec.Struct, frozen=True):
    """A server as the cloud shows it. providers: what has an allocation for it. ports: how many it has."""

    id: str
    name: str
    status: str
    host: str | None
    fault: str
    providers: tuple[str, ...]
    ports: int


class Record(msgspec.Struct):
    """A load that has come to rest. unfinished: names of servers that did not end."""

    calls: list[Call]
    boots: dict[str, Boot]
    servers: list[Server]
    unfinished: list[str]


class Left(msgspec.Struct, frozen=True):
    """What there is after everything was deleted: names of servers, VCPUs that are claimed, ports of servers."""

    servers: list[str]
    claimed: int
    ports: int


class SteadyLoad:
    """The load on one lab; a context manager."""

    def __init__(self, lab: Rehearsal) -> None:
        home = labs.Lab(lab.labs / lab.name, layouts.read(lab.labs / lab.name / "layout.toml"))
        entry = yaml.safe_load(home.clouds_file.read_text())["clouds"][configure.CLOUD]["auth"]
        ports = configure.api_ports(home.layout)
        roots = {api: f"http://{front(home.layout)}:{port}/{api}" for api, port in ports.items()}
        count = len(home.layout.with_role("compute-agent"))
        self._settings = msgspec.json.encode({"password": entry["password"], "roots": roots, "hosts": count})
        argv = [sys.executable, "-m", "tests.lab.steady_load"]
        self._argv = hosts.Host(home.directory, labs.ADMIN).enter(argv, only_net=True)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._ask(self._settings)
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(GIVE_UP_S * 2)

    def begin(self) -> None:
        """Start to ask."""
        self._ask(b"begin")

    def rest(self) -> Record:
        """Ask for nothing more, wait until what was accepted has ended."""
        return msgspec.json.decode(self._ask(b"rest"), type=Record)

    def clear(self) -> Left:
        """Delete all servers."""
        return msgspec.json.decode(self._ask(b"clear"), type=Left)

    def _ask(self, line: bytes) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the load has ended with {self._process.wait(GIVE_UP_S)}"
        return answer


class _Asking:
    """The process's side."""

    def __init__(self, api: Api, log_in: Callable[[], None]) -> None:
        self._api = api
        self._log_in = log_in
        self._pool = ThreadPoolExecutor(WORKERS)
        self._guard = threading.Lock()
        self._numbers = itertools.count(1)
        self._apis = itertools.cycle(LISTS)
        self._image = self._flavor = self._network = ""
        self._reset()

    def _reset(self) -> None:
        self._calls: list[Call] = []
        self._boots: dict[str, Boot] = {}
        self._asking = threading.Event()
        self._listing = threading.Event()
        self._looked = 0.0

    # -- the three commands ----------------------------------------------------------------------------------

    def furnish(self, hosts: int) -> None:
        """Image, flavor, network, and no quotas; then wait until so many hosts are offered."""
        api = self._api
        unlimited = dict.fromkeys(("instances", "cores", "ram"), -1)
        api.put(f"/compute/v2.1/os-quota-sets/{api.project_id}", {"quota_set": unlimited})
        api.put(f"/network/v2.0/quotas/{api.project_id}", {"quota": {"port": -1}})
        image = {"name": NAME, "disk_format": "raw", "container_format": "bare"}
        self._image = api.post("/image/v2/images", image)["id"]
        content = bytes(1 << 20)
        api.upload(f"/image/v2/images/{self._image}/file", io.BytesIO(content), len(content))
        flavor = {"name": f"{NAME}-{os.getpid()}", "vcpus": 1, "ram": 64, "disk": 0}
        self._flavor = api.post("/compute/v2.1/flavors", {"flavor": flavor})["flavor"]["id"]
        self._network = api.post("/network/v2.0/networks", {"network": {"name": NAME}})["network"]["id"]
        subnet = {"network_id": self._network, "ip_version": 4, "cidr": "10.99.0.0/16", "enable_dhcp": False}
        api.post("/network/v2.0/subnets", {"subnet": subnet})
        until(lambda: self._offered() == hosts, f"{hosts} hosts that take servers")

    def _offered(self) -> int:
        api = self._api
        providers = [one["uuid"] for one in api.get("/placement/resource_providers")["resource_providers"]]
        paths = [f"/placement/resource_providers/{one}/inventories" for one in providers]
        return sum(bool(api.get(path)["inventories"]) for path in paths)

    def begin(self) -> None:
        """Start to ask."""
        self._reset()
        self._asking.set()
        self._listing.set()
        for every_s, goes_on, act in (
            (BOOT_EVERY_S, self._asking, self._boot), (BOOT_EVERY_S, self._asking, self._delete_one),
            (LIST_EVERY_S, self._listing, self._list),
        ):
            threading.Thread(target=self._tick, args=(every_s, goes_on, act), daemon=True).start()

    def rest(self) -> Record:
        """See `SteadyLoad`."""
        self._asking.clear()
        stopped = time.monotonic()
        while time.monotonic() < stopped + END_LIMIT_S:
            with self._guard:
                over = all(boot.over for boot in self._boots.values())
                if over and self._looked > stopped + GIVE_UP_S / 10:
                    break
            time.sleep(LIST_EVERY_S)
        self._listing.clear()
        with self._guard:
            unfinished = [name for name, boot in self._boots.items() if not boot.over]
        return Record(self._calls, self._boots, self._servers(), unfinished)

    def clear(self) -> Left:
        """See `SteadyLoad`."""
        deadline = time.monotonic() + END_LIMIT_S
        for server in self._api.get("/compute/v2.1/servers", limit=1000)["servers"]:
            self._api.delete(f"/compute/v2.1/servers/{server['id']}")
        while (left := self._left()) != Left([], 0, 0) and time.monotonic() < deadline:
            time.sleep(1)
        return left

    # -- asking ----------------------------------------------------------------------------------------------

    def _tick(self, every_s: float, goes_on: threading.Event, act: Callable[[], None]) -> None:
        following = time.monotonic()
        while goes_on.is_set():
            self._pool.submit(self._shown, act)
            following += every_s
            time.sleep(max(0.0, following - time.monotonic()))

    @staticmethod
    def _shown(act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            print(f"steady load: {error!r}", file=sys.stderr)
            raise

    def _call(self, what: str, ask: Callable[[], Any]) -> tuple[Call, Any]:
        begun, answer, status, said = time.monotonic(), None, 200, ""
        try:
            answer = ask()
        except ApiError as error:
            status, said = error.status, str(error)
            if status == http.HTTPStatus.UNAUTHORIZED:
                self._log_in()
        except UNANSWERED as error:
            status, said = 0, repr(error)
        call = Call(what, begun, time.monotonic(), status, said)
        with self._guard:
            self._calls.append(call)
        return call, answer

    def _boot(self) -> None:
        name = f"{NAME}-{next(self._numbers)}"
        body = {"name": name, "imageRef": self._image, "flavorRef": self._flavor, "networks": [{"uuid": self._network}]}
        boot = Boot(time.monotonic())
        with self._guard:
            self._boots[name] = boot
        call, answer = self._call("boot", lambda: self._api.post("/compute/v2.1/servers", {"server": body}))
        if call.good:
            boot.id = answer["server"]["id"]

    def _delete_one(self) -> None:
        ripe = time.monotonic() - LIFE_S
        with self._guard:
            boot = next((
                boot for boot in self._boots.values()
                if boot.state == "ACTIVE" and boot.ended < ripe and boot.id and not boot.deleting
            ), None)
            if boot is None:
                return
            boot.deleting = boot.delete_asked = True
        call, _ = self._call("delete", lambda: self._api.delete(f"/compute/v2.1/servers/{boot.id}"))
        boot.delete_accepted = boot.deleting = call.good

    def _list(self) -> None:
        api = next(self._apis)
        path = LISTS[api]
        call, answer = self._call(api, lambda: self._api.get(path))
        if call.good and api == "compute":
            self._look(call, answer["servers"])

    def _look(self, call: Call, servers: list[dict[str, Any]]) -> None:
        with self._guard:
            if call.begun < self._looked:
                return  # a list that another one has overtaken
            self._looked = call.begun
            seen = set()
            for server in servers:
                if (boot := self._boots.get(server["name"])) is not None:
                    seen.add(server["name"])
                    boot.ids.add(server["id"])
                    boot.state, boot.fault = server["status"], server.get("fault", {}).get("message", "")
                    if boot.state in ("ACTIVE", "ERROR") and not boot.ended:
                        boot.ended = call.ended
            for name, boot in self._boots.items():
                if boot.state and name not in seen:
                    boot.state = "GONE"

    # -- seeing ----------------------------------------------------------------------------------------------

    def _servers(self) -> list[Server]:
        api = self._api
        ports = [port["device_id"] for port in api.get("/network/v2.0/ports")["ports"]]
        return [
            Server(
                server["id"], server["name"], server["status"], server["OS-EXT-SRV-ATTR:host"],
                server.get("fault", {}).get("message", ""),
                tuple(api.get(f"/placement/allocations/{server['id']}")["allocations"]), ports.count(server["id"]),
            )
            for server in api.get("/compute/v2.1/servers/detail", limit=1000)["servers"]
        ]

    def _left(self) -> Left:
        api = self._api
        providers = [one["uuid"] for one in api.get("/placement/resource_providers")["resource_providers"]]
        usages = [api.get(f"/placement/resource_providers/{one}/usages")["usages"] for one in providers]
        ports = api.get("/network/v2.0/ports")["ports"]
        names = [server["name"] for server in api.get("/compute/v2.1/servers", limit=1000)["servers"]]
        return Left(names, sum(usage.get("VCPU", 0) for usage in usages), len(ports))


def main() -> None:
    """Settings on the first line, then commands; an answer in a line to each."""
    settings = msgspec.json.decode(sys.stdin.readline())
    api = Api("", settings["roots"], timeout_s=GIVE_UP_S)

    def log_in() -> None:
        api.log_in("admin", settings["password"], "admin")

    log_in()
    asking = _Asking(api, log_in)
    asking.furnish(settings["hosts"])
    print("ready", flush=True)
    for line in sys.stdin:
        answer = getattr(asking, line.strip())()
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.flush()
    os._exit(0)  # calls may still be waiting for an answer that nobody needs


if __name__ == "__main__":
    main()
