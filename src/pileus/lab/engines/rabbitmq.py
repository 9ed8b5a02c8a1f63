"""A RabbitMQ cluster: members that find each other by their configuration, without a call of its command line.

A partition: the side without a majority stops serving (`pause_minority`), so clients go to the other side, and the
cluster is whole by itself afterwards. Quorum queues alone would keep messages safe, but would leave users connected to
a member that can do nothing for them, and the list of queues split until somebody restarts a member by hand.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from pileus.lab.engines.member import Member, Members, write
from pileus.lab.place import Place, Started

SERVER: Final = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # Debian's wrapper would change user and directories
CALL_TIMEOUT_S: Final = 10.0
START_TIMEOUT_S: Final = 300.0
TICK_S: Final = 10
"""How long a member that is cut off (not dead: that shows at once) is thought to be there: up to 1.25 times this."""
ERLANG: Final = (
    # One scheduler that sleeps when idle: a member shares the machine with much else.
    "+S 1:1 +sbwt none +A 4 -kernel inet_dist_use_interface {{{interface}}}"
)


class Ports(msgspec.Struct, frozen=True):
    """amqp: clients. distribution: between members, the n-th (from 0) has this one plus n. names: Erlang's name server
    on each host."""

    amqp: int = 5672
    distribution: int = 25672
    names: int = 4369


class Access(msgspec.Struct, frozen=True):
    """Who may use the cluster. cookie: shared by its members, and by nobody else."""

    user: str
    password: str
    cookie: str
    vhost: str = "pileus"


class RabbitMQMember(Member):
    """One member. `addresses`: those of all members. Its name and port among them differ from the others' also where
    addresses differ: members on one loopback interface share a name server."""

    def __init__(self, place: Place, addresses: Sequence[str], ports: Ports, access: Access) -> None:
        super().__init__(place)
        self._nodes = tuple(f"rabbit{n}@{address}" for n, address in enumerate(addresses, 1))
        self._number = addresses.index(place.address)
        self._addresses = tuple(addresses)
        self._ports = ports
        self._access = access
        self._name_server: Started | None = None

    @property
    def node(self) -> str:
        """Its name in the cluster."""
        return self._nodes[self._number]

    @property
    def _distribution(self) -> int:
        return self._ports.distribution + self._number

    @property
    def url(self) -> str:
        """For clients; holds the password."""
        access = self._access
        return f"amqp://{access.user}:{access.password}@{self.place.address}:{self._ports.amqp}/{access.vhost}"

    @property
    def log(self) -> Path:
        return self.place.directory / "log" / "output"

    def start(self) -> None:
        here = self.place.directory
        write(here / "rabbitmq.conf", self._settings())
        write(here / "definitions.json", definitions(self._access))
        write(here / "plugins", "[].\n")
        write(here / ".erlang.cookie", self._access.cookie, 0o400)
        (here / "log").mkdir(exist_ok=True)
        if self._name_server is None or not self._name_server.alive():
            # Where all members share one loopback interface the first of these serves them all, the others end.
            self._name_server = self.place.start(["epmd"], log=here / "log" / "epmd", env=self._environment())
        self._process = self.place.start([SERVER], log=self.log, env=self._environment())

    def adopt_name_server(self, process: Started | None) -> None:
        """As `adopt`, for Erlang's name server."""
        self._name_server = process

    def stop(self) -> None:
        super().stop()
        if self._name_server is not None:
            self._name_server.kill()

    def stop_keeping_names(self) -> None:
        """As `stop`, for when other members register with this one's name server (all on one loopback interface)."""
        super().stop()

    def answers(self) -> bool:
        try:
            return self.evaluate("rabbit:is_running()") == "true"
        except RuntimeError:
            return False

    def evaluate(self, expression: str) -> str:
        """What the broker says to an Erlang expression: milliseconds, where its command line takes seconds.
        RuntimeError when it does not answer."""
        address = f"{self.place.address}:{self._distribution}"
        said = self.place.run(
            ["erl_call", "-r", "-address", address, "-timeout", "5", "-e"], timeout_s=CALL_TIMEOUT_S,
            input=expression + ".\n", env=self._environment(),
        )
        if not said.startswith("{ok, "):
            raise RuntimeError(f"{self._what} does not know {expression}: {said[:200]}")
        return said.removeprefix("{ok, ").rstrip().removesuffix("}")

    def status(self) -> str:
        """`running, 3 of 3 members`, or what it is otherwise."""
        if not self.alive():
            return "down"
        try:
            said = self.evaluate("{rabbit:is_running(), rabbit_nodes:all_running()}")
        except RuntimeError:
            return "starting, or not answering"
        if not said.startswith("{true"):
            return "starting, or paused: it waits for other members"
        running = re.findall(r"rabbit[0-9]+@[0-9.]+", said)
        return f"running, {len(running)} of {len(self._addresses)} members"

    def force_boot(self) -> None:
        """Have the next start not wait for members that went down after this one, or at the same time, and are lost:
        the list of queues is then this member's. Queues keep what a majority of their members has."""
        write(self._database / "force_load", "")

    @property
    def _database(self) -> Path:
        return self.place.directory / "data" / self.node

    def _settings(self) -> str:
        here = self.place.directory
        lines = [
            f"listeners.tcp.1 = {self.place.address}:{self._ports.amqp}",
            "cluster_formation.peer_discovery_backend = classic_config",
            *(f"cluster_formation.classic_config.nodes.{n} = {node}" for n, node in enumerate(self._nodes, 1)),
            f"cluster_partition_handling = {'pause_minority' if len(self._addresses) > 2 else 'ignore'}",
            f"net_ticktime = {TICK_S}",
            f"load_definitions = {here}/definitions.json",
            "mnesia_table_loading_retry_timeout = 10000",
            "mnesia_table_loading_retry_limit = 60",
            "disk_free_limit.absolute = 50MB",
            "vm_memory_high_watermark.absolute = 1GB",
            "log.file.level = warning",
            "log.console = false",
        ]
        return "\n".join(lines) + "\n"

    def _environment(self) -> dict[str, str]:
        here, address, ports = str(self.place.directory), self.place.address, self._ports
        names_at = self._addresses if ipaddress.ip_address(address).is_loopback else (address,)
        return {
            "HOME": here, "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(ports.names), "ERL_EPMD_ADDRESS": ",".join(names_at),
            "RABBITMQ_NODENAME": self.node, "RABBITMQ_USE_LONGNAME": "true", "RABBITMQ_NODE_IP_ADDRESS": address,
            "RABBITMQ_NODE_PORT": str(ports.amqp), "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": f"{here}/data", "RABBITMQ_LOG_BASE": f"{here}/log",
            "RABBITMQ_PID_FILE": f"{here}/pid", "RABBITMQ_CONFIG_FILE": f"{here}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/plugins", "RABBITMQ_CONF_ENV_FILE": f"{here}/none",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG.format(interface=address.replace(".", ",")),
            # Together these make the script become the broker instead of watching it, without a shell on its input.
            "RABBITMQ_ALLOW_INPUT": "true", "RABBITMQ_SERVER_START_ARGS": "-noinput",
        }


class RabbitMQCluster(Members[RabbitMQMember]):
    """One member in each place. The first founds the cluster; members that are started later join by themselves. After
    all died each may have to wait for any other, so they start at once."""

    ready_timeout_s = START_TIMEOUT_S

    def __init__(self, places: Sequence[Place], access: Access, ports: Ports | None = None) -> None:
        addresses = [place.address for place in places]
        super().__init__(RabbitMQMember(place, addresses, ports or Ports(), access) for place in places)

    @property
    def urls(self) -> list[str]:
        """Where clients find it."""
        return [member.url for member in self.members]

    def bootstrap(self, timeout_s: float | None = None) -> None:
        """The founder goes first: members that begin alone at the same moment could each found a cluster."""
        founder = self.members[0]
        founder.start()
        founder.wait_ready(timeout_s or self.ready_timeout_s)
        self.restart(timeout_s)

    def stop(self) -> None:
        """End all, in order; the name servers last."""
        if self.members:
            with ThreadPoolExecutor(len(self.members)) as pool:
                list(pool.map(RabbitMQMember.stop_keeping_names, self.members))
        super().stop()


def definitions(access: Access) -> str:
    """What every member makes sure of at each start: the virtual host and its only user, whose password is not there
    in the clear."""
    user = {
        "name": access.user, "password_hash": _hashed(access.password), "tags": "",
        "hashing_algorithm": "rabbit_password_hashing_sha256",
    }
    may = {"user": access.user, "vhost": access.vhost, "configure": ".*", "write": ".*", "read": ".*"}
    return json.dumps({"vhosts": [{"name": access.vhost}], "users": [user], "permissions": [may]}, indent=1)


def _hashed(password: str) -> str:
    # The salt follows from the password, so that all members, and all starts, import the same.
    salt = hashlib.sha256(b"pileus rabbitmq " + password.encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
