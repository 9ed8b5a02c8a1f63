"""A service small enough to read at once: the kernel's own tests run it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Column, MetaData, String, Table, select, update

from pileus.kernel.config import NodeConfig
from pileus.kernel.context import Context
from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import ServiceError, Unauthorized
from pileus.kernel.flows import FlowStore
from pileus.kernel.http import PUBLIC, Call, Microversions, Reply, Route, versioned
from pileus.kernel.http.application import Mount
from pileus.kernel.policy import Enforcer, Rule
from pileus.kernel.process import Node, Runtime, Service

METADATA = MetaData()
BOOKS = Table("books", METADATA, Column("id", String(36), primary_key=True), Column("state", String(16)))
FLOWS = FlowStore(METADATA)


class ToyConfig(msgspec.Struct, frozen=True):
    pass


class Author(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    born: versioned(int | msgspec.UnsetType, since="1.2") = msgspec.UNSET  # type: ignore[valid-type]


class CreateBook(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    tags: versioned(list[str] | msgspec.UnsetType, since="1.2") = msgspec.UNSET  # type: ignore[valid-type]
    shelf: versioned(str | msgspec.UnsetType, until="1.1") = msgspec.UNSET  # type: ignore[valid-type]
    authors: list[Author] = []


async def create(call: Call[CreateBook]) -> Reply:
    return Reply({"book": msgspec.to_builtins(call.body)}, headers={"Location": call.base_url + "/v1/books/1"})


async def show(call: Call[None]) -> dict[str, Any]:
    return {"book": {"id": call.path["book_id"], "user": call.context.user_id}}


async def burn(call: Call[Any]) -> None:
    return None


async def crash(call: Call[Any]) -> None:
    raise RuntimeError("the handler is broken")


ROUTES = (
    Route(method="GET", path="/v1/books/{book_id}", handler=show, policy="books:show"),
    Route(method="GET", path="/v1/books/special", handler=crash, policy=PUBLIC),
    Route(method="POST", path="/v1/books", handler=create, policy="books:create", success=202, body=CreateBook,
          envelope="book", max_body_bytes=2_000),
    Route(method="POST", path="/v1/books/{id}/action", handler=burn, policy="books:burn", action="burn", success=202,
          body=dict[str, str] | None),
    Route(method="POST", path="/v1/books/{id}/action", handler=burn, policy="books:create", action="lend",
          since="1.2", success=202, body=dict[str, str] | None),
)
RULES = (
    Rule("admin_required", "role:admin"),
    Rule("books:show", "rule:admin_required or project_id:%(project_id)s"),
    Rule("books:create", "role:member"),
    Rule("books:burn", "rule:admin_required"),
)
USERS = {
    "admin-token": Context(user_id="root", project_id="p0", roles=("admin",)),
    "member-token": Context(user_id="ann", project_id="p1", roles=("member",)),
}


async def authenticate(_rt: Runtime[Any], token: str) -> Context:
    if token not in USERS:
        raise Unauthorized()
    return USERS[token]


def render(error: ServiceError, request_id: str) -> tuple[bytes, str]:
    return msgspec.json.encode({error.type: {"code": error.code, "message": error.text}}), "application/json"


SERVICE = Service(
    type="books", name="books", description="Books", path="/books", catalog_path="/books/v1", usual_port=8123,
    config=ToyConfig, routes=ROUTES, policies=RULES, render_fault=render, roles=(), authenticate=authenticate,
    versions=Microversions("books", (("1.1", "First."), ("1.2", "Tags."), ("1.3", "Third.")), "X-Books-Version"),
    versioned_prefix="/v1",
)


def runtime(tmp_path: Path, node: Node | None = None, url: str | None = None) -> Runtime[ToyConfig]:
    """A runtime with a database (at a URL, or in a file), outside any running node."""
    node = node or Node(NodeConfig(host="h1", state_dir=str(tmp_path)), [SERVICE])
    database = Database(url or f"sqlite:///{tmp_path}/books.sqlite", name="books", clock=node.clock)
    database.create_all(METADATA)
    rt = Runtime(node=node, service=SERVICE, config=ToyConfig(), database=database, policy=Enforcer(RULES),
                 session=None)  # type: ignore[arg-type]
    node.application.mount(Mount(rt, lambda token: authenticate(rt, token)))
    return rt


def set_state(tx: Tx, book_id: str, state: str) -> None:
    if tx.first(select(BOOKS.c.id).where(BOOKS.c.id == book_id)) is None:
        tx.execute(BOOKS.insert().values(id=book_id, state=state))
    else:
        tx.execute(update(BOOKS).where(BOOKS.c.id == book_id).values(state=state))


def state_of(rt: Runtime[Any], book_id: str) -> str | None:
    return rt.db.run(lambda tx: tx.scalar(select(BOOKS.c.state).where(BOOKS.c.id == book_id)))


async def until(condition: Any, timeout_s: float = 10.0) -> None:
    """Wait for a condition in this loop."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)
