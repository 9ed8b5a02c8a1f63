"""The manifest: what the kernel must know of a service. Each service's `service.py` holds one and nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import MetaData

from pileus.kernel.context import Context
from pileus.kernel.errors import ServiceError
from pileus.kernel.flows import Flow, FlowStore
from pileus.kernel.http.routes import Route
from pileus.kernel.http.versions import Microversions
from pileus.kernel.policy import Rule

if TYPE_CHECKING:
    from pileus.kernel.process.runtime import Runtime

RenderFault = Callable[[ServiceError, str], tuple[bytes, str]]


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a service that can run on a host of its own.

    about: one sentence for the operator. start: begins the work (listens on the bus, spawns tasks through the runtime)
    and returns; `None` for an API, which the node serves. default: whether the one-process cloud runs it. needs_db:
    False for agents, which never see the service's database. once: a cloud has one of it; with more, each would do the
    same work again. beside: roles without which it is of no use on a host. secrets: names of those that it needs on a
    host without the cluster key. needs_broker: of no use where all roles are in one process, and so not run there.
    """

    name: str
    about: str = ""
    start: Callable[[Runtime[Any]], Awaitable[None]] | None = None
    default: bool = True
    needs_db: bool = True
    once: bool = False
    beside: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    needs_broker: bool = False

    @property
    def is_api(self) -> bool:
        """Whether it is reached over HTTP."""
        return self.start is None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One service.

    type: catalogue type (`compute`). name: catalogue name. path: where it is mounted (`/compute`). catalog_path:
    appended to the public URL for the catalogue (`/compute/v2.1`). usual_port: the port clients know it by.
    config: struct of its configuration table. db: dotted name of its `db` package, whose `METADATA` holds all tables;
    None for a service without a database. flows: every version of every flow that may be in flight. flow_store: the
    tables that they are kept in. render_fault: (error, request id) -> (body, media type).
    versioned_prefix: microversions are negotiated for paths that begin with it. setup: runs once before any role, after
    migrations: puts what handlers need into the runtime. authenticate: checks a token here; only identity has one.
    aliases: more catalogue entries of the same URL, by type, with their names. offered: whether clients find it in the
    catalogue and it has a user there; False for what is for the cloud itself. media_types: what a JSON body may be
    declared as (a body that is not declared at all passes); empty: the service does not look.
    """

    type: str
    name: str
    description: str
    path: str
    catalog_path: str
    usual_port: int
    config: type[Any]
    routes: tuple[Route, ...]
    policies: tuple[Rule, ...]
    render_fault: RenderFault
    roles: tuple[Role, ...]
    db: str | None = None
    flows: tuple[Flow, ...] = ()
    flow_store: FlowStore | None = None
    versions: Microversions | None = None
    versioned_prefix: str = "/"
    request_id_header: str | None = None
    hides_unknown_paths: bool = True
    setup: Callable[[Runtime[Any]], Awaitable[None]] | None = None
    authenticate: Callable[[Runtime[Any], str], Awaitable[Context]] | None = None
    aliases: Mapping[str, str] = msgspec.field(default_factory=dict)
    media_types: tuple[str, ...] = ()
    offered: bool = True

    def default_roles(self, *, alone: bool) -> tuple[Role, ...]:
        """Those that the one-process cloud runs. alone: its messages stay in the process."""
        return tuple(role for role in self.roles if role.default and not (role.needs_broker and alone))

    def is_versioned(self, path: str) -> bool:
        """Whether microversions apply to a path below the mount."""
        prefix = self.versioned_prefix.rstrip("/")
        return path == prefix or path.startswith(prefix + "/")

    def metadata(self) -> MetaData | None:
        """All tables of the service."""
        if self.db is None:
            return None
        return importlib.import_module(self.db).METADATA
