"""A node: one process with any set of roles of any services. The one-process cloud is a node with all of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pileus.kernel import config as configuration
from pileus.kernel.bus import Bus, LocalBus
from pileus.kernel.config import NodeConfig
from pileus.kernel.context import Clock
from pileus.kernel.db import Database, migrations
from pileus.kernel.errors import RemoteError, Unauthorized, Unavailable
from pileus.kernel.flows.doorbell import FlowsDoorbell
from pileus.kernel.http.application import Application, Authenticate, Mount
from pileus.kernel.http.client import Credentials, InProcessTransport, ServiceSession
from pileus.kernel.http.connections import Connection
from pileus.kernel.http.shared_cache import SharedTokens
from pileus.kernel.http.shared_cache import tokens as shared_cache
from pileus.kernel.http.token_cache import GENERATION, GENERATION_HEADER, VALID_FOR_S, TokenCache, TokensRevoked
from pileus.kernel.observe import collecting
from pileus.kernel.policy import Enforcer, PolicySyntaxError
from pileus.kernel.process import buses, secrets
from pileus.kernel.process import siblings as locations
from pileus.kernel.process.databases import open_database
from pileus.kernel.process.manifest import Role, Service
from pileus.kernel.process.runtime import Runtime
from pileus.kernel.process.siblings import Siblings
from pileus.kernel.process.state_dir import make_state_dir

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 10.0
TICK_S = 1.0


class Node:
    """Builds the runtimes of the services, starts roles, serves HTTP, stops."""

    def __init__(
        self, config: NodeConfig, services: Iterable[Service], tables: dict[str, Any] | None = None, *,
        bus: Bus | None = None, clock: Clock | None = None,
    ) -> None:
        self.config = config
        self.tables = tables or {}
        self.clock = clock or Clock()
        self.bus: Bus = bus or buses.make_bus(config, self.tables)
        self.services = {service.type: service for service in services}
        self.runtimes: dict[str, Runtime[Any]] = {}
        self.application = Application(self._root_document)
        self.siblings = Siblings(
            self.services, self.tables.get(locations.SECTION, {}), InProcessTransport(self.application), self.serves
        )
        self.stopping = asyncio.Event()
        self.failure: BaseException | None = None
        self._wanted: frozenset[str] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._databases: list[Database] = []
        self._at_end: list[Callable[[], None]] = []
        self._shared: SharedTokens | None = None
        self._server: _Server | None = None
        self._serving: asyncio.Task[Any] | None = None

    # -- start -----------------------------------------------------------------------------------------------

    async def start(self, roles: Iterable[str] | None = None, *, serve: bool = True) -> None:
        """Migrate, set up the services, start roles (all the defaults when None), open the port if there is an API
        among them. Services of which no role is wanted take no part."""
        self._wanted = None if roles is None else frozenset(roles)
        make_state_dir(Path(self.config.state_dir))
        recorder = collecting.begin(self)  # first: what all other tasks do is recorded
        await self.bus.open()
        for service in self.services.values():
            if self.chosen(service) or (self._wanted is None and service.offered):
                self.runtimes[service.type] = await self._build(service)
        if self._databases:
            self._databases.append(await collecting.keep(self, recorder))
        served = [runtime for runtime in self.runtimes.values() if self.serves(runtime.service.type)]
        for runtime in served:
            self.application.mount(Mount(runtime, self._authenticator(runtime)))
        for runtime in self.runtimes.values():
            if runtime.service.setup is not None:
                await runtime.service.setup(runtime)
        if serve and served:
            await self._serve()
        for runtime in self.runtimes.values():
            for role in self.chosen(runtime.service):
                for name in role.secrets:
                    self.secret(name)  # what is missing is said now, not at the first use
                if role.start is not None:
                    await role.start(runtime)
        await self._settle()
        gc.collect()
        gc.freeze()

    def chosen(self, service: Service) -> tuple[Role, ...]:
        """The roles of a service that run here."""
        wanted = self._wanted
        if wanted is None:
            return service.default_roles(alone=isinstance(self.bus, LocalBus))
        return tuple(role for role in service.roles if role.name in wanted)

    def serves(self, kind: str) -> bool:
        """Whether the API of a service is in this process."""
        service = self.services.get(kind)
        if service is None:
            return False
        return (self._wanted is None and service.offered) or any(role.is_api for role in self.chosen(service))

    async def _settle(self) -> None:
        try:
            await self.bus.settled()
        except TimeoutError:
            log.warning("the message broker does not let us listen yet; it is tried again and again")

    async def _build(self, service: Service) -> Runtime[Any]:
        database = None
        needs_db = self._wanted is None or any(role.needs_db for role in self.chosen(service))
        if service.db is not None and needs_db:
            database = open_database(self.config, self.tables, service, self.clock)
            self._databases.append(database)
            await asyncio.to_thread(migrations.upgrade, database, service.db)
            if service.flow_store is not None and not isinstance(self.bus, LocalBus):
                bell = FlowsDoorbell(self.bus, service.type)
                self._at_end.append(service.flow_store.on_start(bell.ring))
        policy_file = self.tables.get(service.type, {}).pop("policy_file", None)
        return Runtime(
            node=self,
            service=service,
            config=configuration.section(self.tables, service.type, service.config),
            database=database,
            policy=_policy(service, policy_file),
            session=ServiceSession(
                self.siblings.route, lambda: Credentials(service.type, self.service_password(service.type))
            ),
        )

    def service_password(self, service_type: str) -> str:
        """The password of a service's own user."""
        return self.secret(secrets.service_password(service_type))

    def secret(self, name: str) -> str:
        """A secret of this cloud. Raises ConfigError on a host of agents that was not given it."""
        return secrets.secret(Path(self.config.state_dir), name)

    def _authenticator(self, runtime: Runtime[Any]) -> Authenticate:
        own = runtime.service.authenticate
        if own is not None:
            return lambda token: own(runtime, token)
        cache = TokenCache(lambda token: self._validate(runtime, token), self.clock, self._shared_tokens())
        runtime.put(cache)

        async def forget(event: TokensRevoked) -> None:
            cache.clear(event.generation)

        self.bus.subscribe(TokensRevoked, forget)
        return cache.context_of

    async def _validate(self, runtime: Runtime[Any], token: str) -> dict[str, Any]:
        try:
            result = await runtime.session.request(
                "identity", "GET", "/v3/auth/tokens", headers={"X-Subject-Token": token}, query={"nocatalog": 1}
            )
        except RemoteError as error:
            if error.code in (401, 404):
                raise Unauthorized() from None
            raise Unavailable("The identity service does not answer.", detail=error.text) from None
        return result.json()["token"] | {GENERATION: result.headers.get(GENERATION_HEADER, "0")}

    def _shared_tokens(self) -> SharedTokens | None:
        """What this process shares with others of the cloud, for all its services."""
        if self._shared is None and self.tables.get(shared_cache.SECTION):
            secret = self.secret(shared_cache.SECTION)
            self._shared = shared_cache.shared_tokens(self.tables, secret, self.clock, keep_s=VALID_FOR_S)
            if self._shared is not None:
                self._at_end.append(self._shared.close)
        return self._shared

    async def _serve(self) -> None:
        sockets = [_listen(self.config.listen, self.config.port)]
        if self.config.usual_ports:
            for service in [mount.service for mount in self.application.mounts.values()]:
                sockets.append(_listen(self.config.listen, service.usual_port))
                self.application.ports[service.usual_port] = service.path.strip("/")
        settings = uvicorn.Config(
            self.application, log_config=None, access_log=False, lifespan="off", loop="none", http=Connection,
            ws="none", server_header=False, date_header=True, timeout_keep_alive=65,
            timeout_graceful_shutdown=int(STOP_TIMEOUT_S),
        )
        self._server = _Server(settings)
        self._serving = asyncio.create_task(self._server.serve(sockets=sockets))

    async def _root_document(self, request: Request) -> Response:
        """What there is at `/`: the services and where they are."""
        if request.url.path.strip("/"):
            return JSONResponse({"error": {"code": 404, "title": "Not Found", "message": "Unknown service path."}}, 404)
        host = request.headers.get("host")
        root = f"{request.url.scheme}://{host}" if host else self.config.url
        mounted = [mount.service for mount in self.application.mounts.values()]
        services = {service.type: root + service.catalog_path for service in mounted}
        return JSONResponse({"cloud": self.config.cloud, "services": services})

    # -- run and stop ----------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """See `Runtime.spawn`."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s ended unexpectedly", task.get_name(), exc_info=error)
            self.failure = error
            self.stopping.set()

    async def run_until_signalled(self) -> None:
        """Wait for SIGTERM or SIGINT (or a failed task), then stop."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stopping.set)
        await self.stopping.wait()
        await self.stop()

    async def stop(self) -> None:
        """End everything in order: the port, the tasks, the bus, the databases. Guests and networks stay."""
        if self._server is not None:
            self._server.end()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await (self._serving or asyncio.sleep(0))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for call in self._at_end:
            call()
        await self.bus.close()
        self.siblings.close()
        for database in self._databases:
            await asyncio.to_thread(database.close)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling (the node decides when to stop) and without waking ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self):
        yield

    def end(self) -> None:
        """Close the port, let requests finish, return from `serve`."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # tick 0 renews the Date header
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._ending.wait()


def _policy(service: Service, file: object) -> Enforcer:
    try:
        return Enforcer.from_file(service.policies, Path(str(file)) if file else None)
    except (OSError, UnicodeDecodeError, PolicySyntaxError) as error:
        raise configuration.ConfigError(f"[{service.type}] policy_file: {error}") from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's delay off only on sockets that name it.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise configuration.ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    sock.listen(2048)
    sock.setblocking(False)
    return sock
