"""HAProxy in front of the APIs and of the database, on an address that moves with keepalived.

What may be sent again, and what not, is decided here. A request that never reached a server goes to another one,
whatever it is. One that may have reached a server that then fell silent goes to another only if it changes nothing
(GET, HEAD, OPTIONS); of any other the client is told 502, and only he knows what he wanted. So that "never reached" is
certain, each request gets a connection of its own to a server: one that is kept may be dead without anybody knowing.
"""

from __future__ import annotations

import csv
import io
import socket
from collections.abc import Sequence
from typing import Final

import msgspec

from pileus.lab.engines.member import Member, Members, write
from pileus.lab.place import Place

READY_TIMEOUT_S: Final = 15.0
SOCKET_TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 4 * 2**20
CONNECTIONS: Final = 4_000
IDLE_S: Final = 180  # longer than the API's own deadlines, so that it is the API that says what was slow
CONNECT_S: Final = 1
CHECK: Final = "check inter 500ms fastinter 200ms downinter 500ms fall 3 rise 1"
"""A server that refuses connections is out within 0.9 s. One that does not answer checks is given 3 times 2 s: an API
that is only busy must not be taken out, or the others drown too."""
CHECK_TIMEOUT_S: Final = 2


class Server(msgspec.Struct, frozen=True):
    """One of those in front of which it stands. address: with the port."""

    name: str
    address: str


class Api(msgspec.Struct, frozen=True):
    """An API: served on `port` of the virtual address. path: answered without a token by whoever is well."""

    name: str
    port: int
    servers: tuple[Server, ...]
    path: str = "/"


class Database(msgspec.Struct, frozen=True):
    """A MariaDB cluster of which one member is used at a time: the first that is well, until it is not. One that comes
    back gets nothing until the one in use fails, so a member that is still catching up is not in use. user: one without
    password and rights, as whom checks log in; without it they only connect, and servers need a high
    `max_connect_errors`."""

    servers: tuple[Server, ...]
    port: int = 3306
    user: str | None = None


class Front(msgspec.Struct, frozen=True):
    """All that stands behind the virtual address. peers: where each HAProxy tells the others which member of the
    database is in use, by the names of their places."""

    address: str
    apis: tuple[Api, ...]
    database: Database | None = None
    peers: tuple[Server, ...] = ()


class HAProxy(Member):
    """One of the HAProxies; it listens on the virtual address whether that is here or not."""

    def __init__(self, place: Place, front: Front, *, user: str | None = "haproxy") -> None:
        super().__init__(place)
        self.front = front
        self._user = user

    def start(self) -> None:
        self._render()
        here = self.place.directory
        self._process = self.place.start(
            ["haproxy", "-W", "-db", "-S", f"{here}/master.sock,mode,600", "-L", self.name,
             "-f", f"{here}/haproxy.cfg"], log=self.log,
        )  # fmt: skip

    def answers(self) -> bool:
        try:
            return bool(self.ask("show info"))
        except OSError:
            return False

    def reload(self, front: Front) -> None:
        """Go on with other servers; no connection is lost. RuntimeError when HAProxy does not accept the settings: it
        goes on with the old ones."""
        before, self.front = self.front, front
        self._render()
        try:
            asked = ["haproxy", "-c", "-q", "-L", self.name, "-f", f"{self.place.directory}/haproxy.cfg"]
            self.place.run(asked, timeout_s=READY_TIMEOUT_S)
        except RuntimeError:
            self.front = before
            self._render()
            raise
        self._ask("master.sock", "reload")

    def servers(self) -> dict[str, str]:
        """`UP`, `DOWN` and the like of each `api/server`. OSError when it does not answer."""
        said = self.ask("show stat").removeprefix("# ")
        rows = csv.DictReader(io.StringIO(said))
        return {
            f"{row['pxname']}/{row['svname']}": row["status"]
            for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")
        }  # fmt: skip

    def status(self) -> str:
        """`running, 10 of 12 servers up`, or what it is otherwise."""
        try:
            states = self.servers()
        except OSError:
            return self._silent()
        up = sum(state.startswith("UP") or state == "no check" for state in states.values())
        return f"running, {up} of {len(states)} servers up"

    def ask(self, question: str) -> str:
        """What it says to a command on its socket, such as `show table database`. OSError when it does not answer."""
        return self._ask("stats.sock", question)

    def _ask(self, name: str, question: str) -> str:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(SOCKET_TIMEOUT_S)
            sock.connect(str(self.place.directory / name))
            sock.sendall(question.encode() + b"\n")
            said = b""
            while len(said) < MAX_ANSWER_BYTES and (part := sock.recv(65_536)):
                said += part
            return said.decode()

    def _render(self) -> None:
        write(self.place.directory / "haproxy.cfg", settings(self.front, f"{self.place.directory}", self._user))


def settings(front: Front, directory: str, user: str | None) -> str:
    """The whole configuration file."""
    parts = [_general(directory, user)]
    if front.peers:
        parts.append("\n".join(["peers others", *(f"    peer {peer.name} {peer.address}" for peer in front.peers)]))
    parts += [_api(front.address, api) for api in front.apis]
    if front.database is not None:
        parts.append(_database(front.address, front.database, shared=bool(front.peers)))
    return "\n\n".join(parts) + "\n"


def _general(directory: str, user: str | None) -> str:
    as_user = f"    user {user}\n    group {user}\n" if user else ""
    return f"""\
global
    log stdout format raw local0 notice
    maxconn {CONNECTIONS}
    nbthread 1
    stats socket {directory}/stats.sock mode 600 level admin expose-fd listeners
    hard-stop-after 60s
{as_user}
defaults
    log global
    retries 3
    option redispatch 1
    option dontlognull
    option srvtcpka
    srvtcpka-idle 3s
    srvtcpka-intvl 2s
    srvtcpka-cnt 3
    timeout connect {CONNECT_S}s
    timeout check {CHECK_TIMEOUT_S}s
    timeout client {IDLE_S}s
    timeout server {IDLE_S}s
    timeout http-request 60s
    timeout http-keep-alive 30s
    timeout queue 10s
    timeout tunnel 1h
    default-server init-addr last,none"""


def _api(address: str, api: Api) -> str:
    well = f"{CHECK} observe layer4 error-limit 1 on-error mark-down"
    return "\n".join([
        f"listen {api.name}",
        f"    bind {address}:{api.port} transparent",
        "    mode http",
        "    balance roundrobin",
        "    option forwardfor",
        "    option http-server-close",
        "    retry-on conn-failure empty-response",
        "    http-request disable-l7-retry unless METH_GET || { method OPTIONS }",
        "    option httpchk",
        f"    http-check send meth GET uri {api.path} ver HTTP/1.1 hdr Host {address} hdr Connection close",
        "    http-check expect ! rstatus ^5",
        *(f"    server {server.name} {server.address} {well}" for server in api.servers),
    ])  # fmt: skip


def _database(address: str, database: Database, *, shared: bool) -> str:
    lines = [
        "listen database",
        f"    bind {address}:{database.port} transparent",
        "    mode tcp",
        f"    stick-table type integer size 100 nopurge{' peers others' if shared else ''}",
        "    stick on int(1)",
    ]
    if database.user:
        lines.append(f"    option mysql-check user {database.user}")
    well = f"{CHECK} on-marked-down shutdown-sessions"
    first, *others = database.servers
    lines.append(f"    server {first.name} {first.address} {well}")
    lines += [f"    server {server.name} {server.address} {well} backup" for server in others]
    return "\n".join(lines)


class HAProxies(Members[HAProxy]):
    """One in each place, all alike."""

    ready_timeout_s = READY_TIMEOUT_S

    def __init__(self, places: Sequence[Place], front: Front, *, user: str | None = "haproxy") -> None:
        super().__init__(HAProxy(place, front, user=user) for place in places)
