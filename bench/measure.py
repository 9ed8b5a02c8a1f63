"""What is measured. Each function yields (what, value); values are what `peer.PEER` names, ms or MB."""

from __future__ import annotations

import io
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.cloud import BenchCloud, Client

Result = tuple[str, float]

IDLE_S = 30
REPEAT = 100
BOOTS = 200
BOOTS_AT_ONCE = 16
MANY = 1_000
IMAGE_BYTES = 256 * 10**6
SETTLE_S = 5
POLL_S = 0.1
BOOT_TIMEOUT_S = 600


def machine() -> str:
    """What it was measured on, in a line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.split(":", 1)[1].strip() for line in lines if "model name" in line),
        platform.machine(),
    )
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return (
        f"{os.cpu_count()} x {model}, {memory_gib:.0f} GiB, Linux {platform.release()}, Python "
        f"{platform.python_version()}; load {os.getloadavg()[0]:.1f}"
    )


def timed(repeat: int, act: Callable[[], Any]) -> float:
    """Median duration of `act` in ms."""
    durations = []
    for _ in range(repeat):
        begun = time.perf_counter()
        act()
        durations.append((time.perf_counter() - begun) * 1000)
    return statistics.median(durations)


def both(cloud: BenchCloud, what: str, repeat: int, act: Callable[[], Any]) -> Iterator[Result]:
    """Median time and the cloud's CPU time per call."""
    cpu = cloud.cpu_s()
    yield f"{what}, p50 ms", timed(repeat, act)
    yield f"{what}, CPU ms", (cloud.cpu_s() - cpu) * 1000 / repeat


def idle(cloud: BenchCloud) -> Iterator[Result]:
    """Memory and CPU when nothing happens."""
    yield "start until every API answers, ms", cloud.ready_s * 1000
    time.sleep(SETTLE_S)
    cpu = cloud.cpu_s()
    time.sleep(IDLE_S)
    yield "memory at idle, MB PSS", cloud.memory_mb()
    yield "CPU at idle, ms per minute", (cloud.cpu_s() - cpu) * 1000 * 60 / IDLE_S


def tokens(cloud: BenchCloud) -> Iterator[Result]:
    """Issue by password (the same user again and again, as clients do), and validate."""
    client, body = cloud.client(), cloud.password_body()
    yield from both(cloud, "token by password", REPEAT, lambda: client.must("POST", "/identity/v3/auth/tokens", body))
    headers = {"X-Subject-Token": cloud.token}
    check = lambda: client.must("GET", "/identity/v3/auth/tokens", None, headers)  # noqa: E731
    yield from both(cloud, "validate a token", REPEAT, check)


def images(cloud: BenchCloud) -> Iterator[Result]:
    """256 MB of noise up and down."""
    client = cloud.client()
    body = {"name": "noise", "disk_format": "raw", "container_format": "bare"}
    image = client.must("POST", "/image/v2/images", body)
    content = io.BytesIO(os.urandom(1 << 20) * (IMAGE_BYTES >> 20))
    size = len(content.getbuffer())
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    begun = time.perf_counter()
    client.must("PUT", f"/image/v2/images/{image['id']}/file", content, headers)
    yield "image up, ms per 256 MB", (time.perf_counter() - begun) * 1000 * IMAGE_BYTES / size
    begun = time.perf_counter()
    assert client.read_through(f"/image/v2/images/{image['id']}/file") == size
    yield "image down, ms per 256 MB", (time.perf_counter() - begun) * 1000 * IMAGE_BYTES / size


class Tenancy:
    """Image, flavor and network for servers, without quotas."""

    def __init__(self, cloud: BenchCloud) -> None:
        client = cloud.client()
        project = cloud.log_in()[1]["token"]["project"]["id"]
        unlimited = {"instances": -1, "cores": -1, "ram": -1}
        client.must("PUT", f"/compute/v2.1/os-quota-sets/{project}", {"quota_set": unlimited})
        client.must("PUT", f"/network/v2.0/quotas/{project}", {"quota": {"port": -1}})
        image = client.must(
            "POST", "/image/v2/images", {"name": "tiny", "disk_format": "raw", "container_format": "bare"}
        )
        client.must(
            "PUT", f"/image/v2/images/{image['id']}/file", b"\0" * 1_048_576,
            {"Content-Type": "application/octet-stream"},
        )
        # No disk: a thousand of them must fit on a host whose (real) disk is what it is.
        flavor = {"name": "bench", "vcpus": 1, "ram": 64, "disk": 0}
        self.image = image["id"]
        self.flavor = client.must("POST", "/compute/v2.1/flavors", {"flavor": flavor})["flavor"]["id"]
        self.network = client.must("POST", "/network/v2.0/networks", {"network": {"name": "bench"}})["network"]["id"]
        subnet = {"network_id": self.network, "ip_version": 4, "cidr": "10.128.0.0/16"}
        client.must("POST", "/network/v2.0/subnets", {"subnet": subnet})

    def server_body(self, name: str) -> dict[str, Any]:
        server = {"name": name, "imageRef": self.image, "flavorRef": self.flavor, "networks": [{"uuid": self.network}]}
        return {"server": server}


def ports(cloud: BenchCloud, tenancy: Tenancy) -> Iterator[Result]:
    """Create ports."""
    client, body = cloud.client(), {"port": {"network_id": tenancy.network}}
    yield from both(cloud, "POST a port", REPEAT, lambda: client.must("POST", "/network/v2.0/ports", body))


def servers(cloud: BenchCloud, tenancy: Tenancy) -> Iterator[Result]:
    """200 boots on the fake driver, lists of 0, 100 and 1000 servers."""
    client = cloud.client()
    show = lambda: client.must("GET", "/compute/v2.1/servers/detail?limit=1000")  # noqa: E731
    yield from both(cloud, "servers/detail of 0", REPEAT, show)
    answers: list[float] = []

    def boot(number: int) -> None:
        begun = time.perf_counter()
        cloud.client().must("POST", "/compute/v2.1/servers", tenancy.server_body(f"b{number}"))
        answers.append((time.perf_counter() - begun) * 1000)

    boot(0)
    _wait_active(client, 1)
    cpu, begun = cloud.cpu_s(), time.perf_counter()
    with ThreadPoolExecutor(BOOTS_AT_ONCE) as pool:
        list(pool.map(boot, range(1, BOOTS + 1)))
    _wait_active(client, BOOTS + 1)
    took, cpu = time.perf_counter() - begun, cloud.cpu_s() - cpu
    yield "POST a server, answer, p50 ms", statistics.median(answers)
    yield f"{BOOTS} boots until all ACTIVE, ms", took * 1000
    yield f"{BOOTS} boots until all ACTIVE, CPU ms", cpu * 1000
    yield "server until ACTIVE under load, ms each", took * 1000 / BOOTS
    yield "server until ACTIVE under load, CPU ms each", cpu * 1000 / BOOTS
    hundred = lambda: client.must("GET", "/compute/v2.1/servers/detail?limit=100")  # noqa: E731
    yield from both(cloud, "servers/detail of 100", 20, hundred)
    first = client.must("GET", "/compute/v2.1/servers?limit=1")["servers"][0]["id"]
    yield from both(cloud, "one server", REPEAT, lambda: client.must("GET", f"/compute/v2.1/servers/{first}"))
    _grow_to(cloud, tenancy, client, MANY)
    yield from both(cloud, "servers/detail of 1000", 10, show)
    yield "memory with 1000 servers, MB PSS", cloud.memory_mb()


def _grow_to(cloud: BenchCloud, tenancy: Tenancy, client: Client, count: int) -> None:
    body = tenancy.server_body("many")
    body["server"] |= {"min_count": count - BOOTS - 1, "max_count": count - BOOTS - 1}
    client.must("POST", "/compute/v2.1/servers", body)
    _wait_active(client, count)


def _wait_active(client: Client, count: int) -> None:
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while time.monotonic() < deadline:
        path = "/compute/v2.1/servers?limit=1000&status="
        if failed := client.must("GET", path + "ERROR")["servers"]:
            raise RuntimeError(f"{len(failed)} servers failed")
        if len(client.must("GET", path + "ACTIVE")["servers"]) >= count:
            return
        time.sleep(POLL_S)
    raise RuntimeError(f"not all of {count} servers were ACTIVE within {BOOT_TIMEOUT_S} s")
