"""The engines of a lab: made from its layout, started in the order in which they need each other, found again."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from pileus.kernel.config import ConfigError
from pileus.kernel.host import durable
from pileus.lab import addresses, configure, hosts
from pileus.lab.configure import Engines
from pileus.lab.engines import haproxy, keepalived, memcached, rabbitmq
from pileus.lab.engines.galera import GaleraCluster
from pileus.lab.engines.mariadb import MariaDB
from pileus.lab.engines.member import Member
from pileus.lab.host_place import HostPlace
from pileus.lab.lab import Lab
from pileus.lab.layout import EngineName, Layout
from pileus.lab.place import Started
from pileus.lab.progress import Progress, all_at_once

PROGRAMS = {  # engine -> programs, and their Debian packages
    "rabbitmq": {"rabbitmq-server": "rabbitmq-server", "erl_call": "erlang-base"},
    "mariadb": {"mariadbd": "mariadb-server"},
    "galera": {"mariadbd": "mariadb-server", "rsync": "rsync"},
    "memcached": {"memcached": "memcached"},
    "haproxy": {"haproxy": "haproxy"},
    "keepalived": {"keepalived": "keepalived"},
}
MAIN = {
    "rabbitmq": rabbitmq.SERVER, "mariadb": "mariadbd", "galera": "mariadbd", "memcached": "memcached",
    "haproxy": "haproxy", "keepalived": "keepalived",
}
"""The program of an engine that is the engine, where it has several."""
ORDER: tuple[tuple[EngineName, ...], ...] = (
    ("galera", "mariadb", "rabbitmq", "memcached"), ("haproxy",), ("keepalived",)
)
"""What is in one group does not need each other."""
USER = "pileus"
CHECKER = "haproxy"
"""A user of the database without password and rights."""
PASSWORDS = "engines.json"
START_TIMEOUT_S = 300.0
DATABASE_PORT = 3306


class Passwords(msgspec.Struct, frozen=True):
    """Those between the cloud and its engines, made with the lab."""

    database: str
    bus: str
    cookie: str


def refuse_missing_programs(layout: Layout) -> None:
    """Raises ConfigError that says what to install."""
    if missing := missing_packages(engine for plan in layout.hosts.values() for engine in plan.engines):
        raise ConfigError(f"this layout needs programs that are not installed: apt-get install {' '.join(missing)}")


def missing_packages(engines: Iterable[str]) -> list[str]:
    """The Debian packages of these engines that are not installed."""
    return sorted({
        package for engine in engines for program, package in PROGRAMS[engine].items()
        if shutil.which(program, path=hosts.SYSTEM_PATH) is None
    })


def place(lab: Lab, host: str, engine: str) -> HostPlace:
    """Where an engine runs on a host."""
    return lab.place(host, f"engines/{engine}")


class EngineSet:
    """The engines of a lab as they are now: what runs was found, whoever has started it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._passwords = _passwords(lab.directory / PASSWORDS)
        self._galera = GaleraCluster(self._places("galera"))
        self._brokers = rabbitmq.RabbitMQCluster(
            self._places("rabbitmq"), rabbitmq.Access(USER, self._passwords.bus, self._passwords.cookie)
        )
        self._caches = memcached.MemcachedServers(self._places("memcached"))
        self._members = dict(self._made())
        for (host, engine), member in self._members.items():
            if lab.host(host).pid is not None:
                _adopt(member, place(lab, host, engine).started(), engine)

    # -- life ------------------------------------------------------------------------------------------------

    def bootstrap(self, progress: Progress) -> None:
        """Start all of them for the first time, and make schemas and users."""
        self.start(self._lab.layout.hosts, progress, first=True)

    def start(self, on: Iterable[str], progress: Progress, *, first: bool = False) -> None:
        """Start those of some hosts that do not run. RuntimeError when one does not start."""
        wanted = {key for key, member in self._members.items() if key[0] in set(on) and not member.alive()}
        for group in ORDER:
            todo = [engine for engine in group if any(name == engine for _, name in wanted)]

            def begin(engine: str) -> None:
                where = [host for host in self._lab.layout.hosts if (host, engine) in wanted]
                with progress.step(f"{engine} on {', '.join(where)}"):
                    self._start(engine, where, first)

            all_at_once(begin, todo)

    def _start(self, engine: str, where: list[str], first: bool) -> None:
        if engine == "galera":
            self._start_galera(where)
        elif engine == "rabbitmq" and first:
            self._brokers.bootstrap()
        else:
            for host in where:
                self._members[host, engine].start()
            for host in where:
                self._members[host, engine].wait_ready(START_TIMEOUT_S)
        if first and engine in ("mariadb", "galera"):
            self._make_schemas()

    def _start_galera(self, where: list[str]) -> None:
        off = [member.name for member in self._galera.members if self._lab.host(member.name).pid is None]
        if not off:
            self._galera.restart()  # finds out who is to begin
            return
        if not self._galera.primaries():
            raise RuntimeError(
                f"no member of galera runs with a majority, and {', '.join(off)} is off, which may have the most: "
                "power all of them on together"
            )
        for host in where:
            self._members[host, "galera"].start()
            self._members[host, "galera"].wait_ready(START_TIMEOUT_S)

    def _make_schemas(self) -> None:
        server = self._galera.members[0] if self._galera.members else self._members[self._one("mariadb"), "mariadb"]
        assert isinstance(server, MariaDB)
        for schema in configure.schemas():
            server.create_schema(schema, USER, self._passwords.database)
        server.execute(f"CREATE USER IF NOT EXISTS '{CHECKER}'@'%'")

    # -- what they are ---------------------------------------------------------------------------------------

    def where(self) -> Engines:
        """How the cloud reaches them."""
        layout = self._lab.layout
        if not layout.with_engine("mariadb", "galera"):
            return Engines()
        server = self._address(self._one("mariadb", "galera"))
        if layout.with_engine("haproxy"):
            server = addresses.front(layout)
        return Engines(
            bus=tuple(self._brokers.urls),
            database=f"mysql+pymysql://{USER}:{self._passwords.database}@{server}:{DATABASE_PORT}/{{service}}",
            caches=tuple(member.server for member in self._caches.members),
        )

    @property
    def members(self) -> Mapping[tuple[str, str], Member]:
        """(host, engine) -> that engine there."""
        return self._members

    def logs(self, host: str) -> dict[str, Path]:
        """Engine -> what it writes on a host."""
        return {engine: member.log for (name, engine), member in self._members.items() if name == host}

    def _made(self) -> Iterator[tuple[tuple[str, str], Member]]:
        for host in self._lab.layout.with_engine("mariadb"):
            yield (host, "mariadb"), MariaDB(place(self._lab, host, "mariadb"))
        for engine, members in (
            ("galera", self._galera.members), ("rabbitmq", self._brokers.members), ("memcached", self._caches.members),
            ("haproxy", haproxy.HAProxies(self._places("haproxy"), self._front()).members),
            ("keepalived", self._keepers().members),
        ):
            for member in members:
                yield (member.name, engine), member

    def _front(self) -> haproxy.Front:
        layout = self._lab.layout
        apis = tuple(
            haproxy.Api(api, port, self._servers(layout.with_role(f"{api}-api"), port))
            for api, port in configure.api_ports(layout).items()
        )
        database = haproxy.Database(
            self._servers(layout.with_engine("mariadb", "galera"), DATABASE_PORT), DATABASE_PORT, CHECKER
        )
        peers = self._servers(layout.with_engine("haproxy"), 10_000)
        return haproxy.Front(addresses.front(layout), apis, database, peers)

    def _keepers(self) -> keepalived.KeepalivedCluster:
        layout = self._lab.layout
        front = addresses.with_prefix(addresses.home(layout), addresses.front(layout))
        keepers = layout.with_engine("keepalived")
        watched = [place(self._lab, host, "haproxy").directory / "stats.sock" for host in keepers]
        virtual = keepalived.VirtualAddress(front, "eth0")
        return keepalived.KeepalivedCluster(self._places("keepalived"), virtual, watched)

    def _servers(self, names: Iterable[str], port: int) -> tuple[haproxy.Server, ...]:
        return tuple(haproxy.Server(host, f"{self._address(host)}:{port}") for host in names)

    def _places(self, engine: str) -> list[HostPlace]:
        return [place(self._lab, host, engine) for host in self._lab.layout.with_engine(engine)]

    def _address(self, host: str) -> str:
        return addresses.management(self._lab.layout, host)

    def _one(self, *engines: str) -> str:
        return self._lab.layout.with_engine(*engines)[0]


def _adopt(member: Member, running: Mapping[str, Started], engine: str) -> None:
    """Let a member know of the processes that another shell has started for it."""
    member.adopt(running.get(MAIN[engine]))
    if isinstance(member, rabbitmq.RabbitMQMember):
        member.adopt_name_server(running.get("epmd"))


def _passwords(file: Path) -> Passwords:
    """Those in the file; made when there is none."""
    if not file.exists():
        made = Passwords(*(secrets.token_hex(16) for _ in range(3)))
        durable.write(file, json.dumps(msgspec.to_builtins(made)).encode())
    return msgspec.json.decode(file.read_bytes(), type=Passwords)
