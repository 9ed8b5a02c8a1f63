"""What a running service has at hand: its configuration, database, bus, policy, clock, sessions to siblings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from starlette.requests import Request

from pileus.kernel.bus import Bus
from pileus.kernel.context import Clock
from pileus.kernel.db import Database
from pileus.kernel.http.client import ServiceSession
from pileus.kernel.policy import Enforcer
from pileus.kernel.process.manifest import Service
from pileus.kernel.tasks import Reconciler

if TYPE_CHECKING:
    from pileus.kernel.process.node import Node

C = TypeVar("C")
T = TypeVar("T")


class Runtime(Generic[C]):
    """One service in one process. Handlers reach it as `call.rt`, flow steps as `run.rt`."""

    def __init__(
        self, *, node: Node, service: Service, config: C, database: Database | None, policy: Enforcer,
        session: ServiceSession,
    ) -> None:
        self.node = node
        self.service = service
        self.config = config
        self.policy = policy
        self.session = session
        self._database = database
        self._objects: dict[type[Any], Any] = {}

    @property
    def db(self) -> Database:
        """The service's database. A role that must not have one (agents) fails loudly here."""
        if self._database is None:
            raise RuntimeError(f"{self.service.type} has no database in this process")
        return self._database

    @property
    def bus(self) -> Bus:
        return self.node.bus

    @property
    def clock(self) -> Clock:
        return self.node.clock

    @property
    def host(self) -> str:
        """This host's name in the cloud."""
        return self.node.config.host

    @property
    def state_dir(self) -> Path:
        """The service's own directory for what must survive; made on first use, for its owner only."""
        path = Path(self.node.config.state_dir) / self.service.type
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    def put(self, value: Any) -> None:
        """Keep an object for `get` by its type (set up once, used by handlers)."""
        self._objects[type(value)] = value

    def get(self, kind: type[T]) -> T:
        """The object of that type. KeyError names what `setup` forgot."""
        return self._objects[kind]

    def has(self, kind: type[Any]) -> bool:
        """Whether `put` was called with that type."""
        return kind in self._objects

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run for as long as the node runs; ends with it. If it ends by an error the node says so and stops."""
        return self.node.spawn(work, name=name)

    def every(self, seconds: float, work: Callable[[], Awaitable[object]], *, name: str) -> Reconciler:
        """Run `work` periodically until the node stops; `ring()` the result to run it soon."""
        reconciler = Reconciler(name, work, every_s=seconds)
        self.spawn(reconciler.run_forever(), name=name)
        return reconciler

    def public_root(self, request: Request, *, with_path: bool = True) -> str:
        """The service's root as the client sees it: the configured URL, else the one the request came to."""
        config = self.node.config
        if config.public_url and with_path:
            return config.url + self.service.path
        host = request.headers.get("host")
        root = f"{request.url.scheme}://{host}" if host else config.url
        return root + (self.service.path if with_path else "")
