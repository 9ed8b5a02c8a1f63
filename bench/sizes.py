"""`python -m bench.sizes`: what each role and engine of a cloud on many hosts takes, idle and with servers. Needs root.

Every role runs in a process of its own in a lab (`sizes.toml`), with fake drivers and real engines. Printed are memory
(MB PSS), CPU (ms), connections to each engine, and what a server adds to the databases: docs/operate/sizing.md.
"""

from __future__ import annotations

import collections
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench.measure import machine
from pileus.cli.status import memory_pss_mib
from pileus.lab import building, cloud_processes
from pileus.lab.configure import CLOUD
from pileus.lab.engine_set import EngineSet
from pileus.lab.engines.mariadb import MariaDB
from pileus.lab.engines.rabbitmq import RabbitMQMember
from pileus.lab.lab import ADMIN, LABS_VARIABLE, Lab
from pileus.lab.progress import Progress

LAYOUT = Path(__file__).with_name("sizes.toml")
STEPS = (50, 250)
"""Servers in all, after each step."""
IDLE_S = 60.0
SETTLE_S = 15.0
POLL_S = 1.0
BOOT_TIMEOUT_S = 1_200.0
COMMAND_TIMEOUT_S = 120.0
PORTS = {5672: "broker", 3306: "database", 11211: "cache"}
SIZES = """
SELECT table_schema, table_name, data_length + index_length FROM information_schema.tables
WHERE table_schema IN ('compute', 'identity', 'image', 'network', 'placement', 'trace')
"""


class Look(msgspec.Struct, frozen=True):
    """A process at one moment. memory_mb: PSS. cpu_s: since its start."""

    memory_mb: float
    cpu_s: float


class Site:
    """A running lab of that layout, seen from outside."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.engines = EngineSet(lab)

    def processes(self) -> dict[str, int]:
        """`host/process` -> its id."""
        found = {}
        for host in self.lab.layout.hosts:
            for name in cloud_processes.names(self.lab, host):
                process = cloud_processes.find(self.lab, host, name)
                if process is None:
                    raise RuntimeError(f"{name} on {host} does not run")
                found[f"{host}/{name}"] = process.pid
        for (host, engine), member in self.engines.members.items():
            found[f"{host}/{engine}"] = member.pid
        return found

    def look(self) -> dict[str, Look]:
        """All of them now."""
        return {
            name: Look(memory_pss_mib(pid) * 2**20 / 1e6, _cpu_s(pid)) for name, pid in self.processes().items()
        }

    def connections(self) -> dict[str, dict[str, int]]:
        """How many each process holds to each engine."""
        names = {pid: name for name, pid in self.processes().items()}
        found: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for host in self.lab.layout.hosts:
            listed = subprocess.run(
                self.lab.host(host).enter(["ss", "-Htnp", "state", "established"], only_net=True), check=True,
                capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S,
            ).stdout
            for line in listed.splitlines():
                port = int(line.split()[3].rpartition(":")[2])
                owner = re.search(r"pid=(\d+)", line)
                if port in PORTS and owner and int(owner[1]) in names:
                    found[names[int(owner[1])]][PORTS[port]] += 1
        return {name: dict(count) for name, count in found.items()}

    def queues(self) -> int:
        """Of the broker."""
        (member,) = [m for m in self.engines.members.values() if isinstance(m, RabbitMQMember)]
        return int(member.evaluate("length(rabbit_amqqueue:list_names())"))

    def rows(self) -> dict[str, tuple[int, int]]:
        """`schema.table` -> rows, and bytes with indexes (whole pages of 16 KiB)."""
        (server,) = [m for m in self.engines.members.values() if isinstance(m, MariaDB)]
        tables = [(schema, table, int(size)) for schema, table, size in server.execute(SIZES)]
        server.execute("".join(f"ANALYZE TABLE `{schema}`.`{table}`;" for schema, table, _ in tables))
        found = {}
        for schema, table, size in [(s, t, int(n)) for s, t, n in server.execute(SIZES)]:
            ((count,),) = server.execute(f"SELECT COUNT(*) FROM `{schema}`.`{table}`")
            found[f"{schema}.{table}"] = (int(count), size)
        return found

    def stock(self, *words: str) -> str:
        """The stock client's answer."""
        client = ("env", f"OS_CLOUD={CLOUD}", "OS_CLIENT_CONFIG_FILE=/etc/openstack/clouds.yaml",
                  str(Path(sys.executable).with_name("openstack")))
        done = subprocess.run(
            self.lab.host(ADMIN).enter([*client, *words]),
            capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False, cwd="/",
        )
        if done.returncode != 0:
            raise RuntimeError(f"openstack {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def prepare(self) -> None:
        """What servers need."""
        self.stock("quota", "set", "--instances", "-1", "--cores", "-1", "--ram", "-1", "--ports", "-1", "admin")
        self.stock("flavor", "create", "nano", "--ram", "64", "--disk", "0", "--vcpus", "1")
        self.stock("network", "create", "inside")
        self.stock("subnet", "create", "inside", "--network", "inside", "--subnet-range", "10.7.0.0/16")
        noise = "head -c 1048576 /dev/zero > /tmp/noise"
        subprocess.run(self.lab.host(ADMIN).enter(["sh", "-c", noise]), check=True, timeout=COMMAND_TIMEOUT_S)
        self.stock("image", "create", "tiny", "--disk-format", "raw", "--file", "/tmp/noise")

    def boot(self, more: int, total: int) -> float:
        """Seconds until so many more are ACTIVE."""
        begun = time.monotonic()
        many = ("--min", str(more), "--max", str(more)) if more > 1 else ()
        self.stock("server", "create", f"n{total}", "--image", "tiny", "--flavor", "nano", "--network", "inside", *many)
        while self._active() < total:
            if time.monotonic() - begun > BOOT_TIMEOUT_S:
                raise RuntimeError(f"not all of {total} servers are ACTIVE after {BOOT_TIMEOUT_S:g} s")
            time.sleep(POLL_S)
        return time.monotonic() - begun

    def _active(self) -> int:
        (server,) = [m for m in self.engines.members.values() if isinstance(m, MariaDB)]
        ((count,),) = server.execute("SELECT COUNT(*) FROM compute.servers WHERE vm_state = 'active'")
        return int(count)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(site: Site) -> None:
    """Print it all."""
    site.prepare()
    time.sleep(SETTLE_S)
    before = site.look()
    time.sleep(IDLE_S)
    idle = site.look()
    _table("idle", before, idle, IDLE_S / 60, "CPU ms/min")
    held = site.connections()
    print(f"\nqueues in the broker: {site.queues()}")
    for name in sorted(held):
        print(f"{name:<24} " + ", ".join(f"{count} {what}" for what, count in sorted(held[name].items())))
    total, rows = 0, site.rows()
    print(f"\ndatabase without servers: {sum(size for _, size in rows.values()) / 1e6:.1f} MB")
    for step in STEPS:
        now = site.look()
        took = site.boot(step - total, step)
        time.sleep(SETTLE_S)
        print(f"\n{step - total} boots: {took:.1f} s")
        _table(f"with {step} servers", now, site.look(), step - total, "CPU ms/boot")
        after = site.rows()
        _grown(rows, after, step - total)
        rows, total = after, step


def _table(title: str, before: dict[str, Look], after: dict[str, Look], parts: float, what: str) -> None:
    print(f"\n{title:<24} {'MB PSS':>8} {what:>12}")
    for name, look in after.items():
        used_ms = (look.cpu_s - before[name].cpu_s) * 1000 / parts
        print(f"{name:<24} {look.memory_mb:>8.1f} {used_ms:>12.0f}", flush=True)
    used = sum(after[name].cpu_s - before[name].cpu_s for name in after)
    print(f"{'all':<24} {sum(look.memory_mb for look in after.values()):>8.1f} {used * 1000 / parts:>12.0f}")


def _grown(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], servers: int) -> None:
    print(f"\n{'more in the database':<32} {'rows/server':>12} {'bytes/server':>13}")
    totals = collections.Counter[str]()
    for name, (rows, size) in after.items():
        more, grown = rows - before[name][0], size - before[name][1]
        totals[name.partition(".")[0]] += grown
        if more or grown:
            print(f"{name:<32} {more / servers:>12.1f} {grown / servers:>13.0f}")
    print("bytes/server by schema: " + ", ".join(f"{name} {size / servers:,.0f}" for name, size in totals.items()))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Make the lab, measure, take it away."""
    print(machine())
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:  # hosts do not see /tmp
        os.environ[LABS_VARIABLE] = f"{directory}/labs"
        Path(directory).chmod(0o711)
        try:
            measure(Site(building.up("sizes", str(LAYOUT), Progress(_say))))
        finally:
            building.down("sizes", Progress(_say))


if __name__ == "__main__":
    main()
