"""Hops are kept, bounded, and put together again as operations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from engines.mariadb import MariaDB
from pileus.kernel import context as ctx
from pileus.kernel.context import Clock
from pileus.kernel.db import Database
from pileus.kernel.observe import hops, store
from pileus.kernel.observe.hops import Hop
from pileus.kernel.observe.operation import Traces

from .hop_samples import T0, a_hop

REQUEST = ctx.new_request_id()


# -- the store -------------------------------------------------------------------------------------------------------


class Later(Clock):
    """A clock that can be set."""

    def __init__(self) -> None:
        self.at = T0

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = store.open_trace(tmp_path, None, Later())
    store.make_table(opened)
    yield opened
    opened.close()


def test_the_trace_database_may_be_a_mariadb(mariadb: MariaDB, tmp_path: Path) -> None:
    url = mariadb.url("trace")
    opened = store.open_trace(tmp_path, url, Later())
    store.make_table(opened)
    test_hops_come_back_as_they_were_written(opened)
    opened.run(store.insert, [a_hop(number) for number in range(3)])
    opened.clock.at = T0 + store.KEEP + timedelta(days=1)  # type: ignore[attr-defined]
    assert opened.run(store.prune) == 4
    opened.close()
    again = store.open_trace(tmp_path, url)
    store.make_table(again)  # it is there
    again.close()
    assert not (tmp_path / "db").exists()


def test_hops_come_back_as_they_were_written(database: Database) -> None:
    fault = hops.HopFault(500, "no_space", "The disk is full.", "h1: /var")
    hop = a_hop(3, request_id=REQUEST, resource_id="s1", fault=fault, waited_for="a slot 3 ms", attempt=2)
    database.run(store.insert, [hop])
    assert database.run(store.of_requests, [REQUEST]) == [hop]
    assert database.run(store.of_resources, ["s1"]) == [hop]


def test_the_trace_database_is_for_its_owner_only(database: Database, tmp_path: Path) -> None:
    assert (tmp_path / "db" / "trace.sqlite").stat().st_mode & 0o077 == 0


def test_what_is_too_old_or_too_much_is_forgotten(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = database.clock
    assert isinstance(clock, Later)
    database.run(store.insert, [a_hop(number, resource_id="s1") for number in range(100)])
    assert database.run(store.prune) == 0
    monkeypatch.setattr(store, "MAX_ROWS", 60)
    assert database.run(store.prune) == 40
    clock.at = T0 + store.KEEP + timedelta(seconds=79.5)
    assert database.run(store.prune) == 40
    assert len(database.run(store.of_resources, ["s1"])) == 20
    monkeypatch.setattr(store, "PRUNE_ROWS", 5)
    clock.at += timedelta(days=1)
    assert database.run(store.prune) == 5, "never more than a bounded number at a time"


# -- operations ------------------------------------------------------------------------------------------------------


def _operation(database: Database, found: list[Hop], target: str) -> list[tuple[str, int]]:
    database.run(store.insert, found)
    operation = Traces(database, ()).find(target)
    assert operation is not None
    return [(hop.name, depth) for hop, depth in zip(operation.hops, operation.depths, strict=True)]


def test_siblings_are_found_under_the_request_that_asked_them(database: Database) -> None:
    client, first, second = ctx.new_request_id(), ctx.new_request_id(), ctx.new_request_id()
    other = ctx.new_request_id()
    found = [
        a_hop(0, id=first, request_id=first, global_request_id=client, name="POST /servers"),
        a_hop(1, id=second, request_id=second, global_request_id=client, cause=first, name="POST /ports"),
        a_hop(2, id=other, request_id=other, global_request_id=client, name="POST /volumes"),
    ]
    assert _operation(database, found, first) == [("POST /servers", 0), ("POST /ports", 1)]
    every = Traces(database, ()).find(client)
    assert every is not None
    assert [hop.name for hop in every.hops] == ["POST /servers", "POST /ports", "POST /volumes"]


def test_work_without_request_belongs_to_the_last_change_of_its_resource(database: Database) -> None:
    made, changed = ctx.new_request_id(), ctx.new_request_id()
    found = [
        a_hop(0, id=made, request_id=made, kind="http", name="POST /ports", resource_id="p1"),
        a_hop(1, name="port ACTIVE", resource_id="p1"),
        a_hop(10, id=changed, request_id=changed, kind="http", name="PUT /ports/p1", resource_id="p1"),
        a_hop(11, name="port DOWN", resource_id="p1"),
        a_hop(5_000, name="port ACTIVE again", resource_id="p1"),
    ]
    assert _operation(database, found, made) == [("POST /ports", 0), ("port ACTIVE", 1)]
    later = Traces(database, ()).find(changed)
    assert later is not None
    assert [hop.name for hop in later.hops] == ["PUT /ports/p1", "port DOWN"]
    whole = Traces(database, ()).find("p1")
    assert whole is not None
    assert len(whole.hops) == 5


def test_work_without_request_belongs_to_the_operation_under_way(database: Database) -> None:
    """Its agent sees a device go before the port is deleted: that is the deletion's doing, not the creation's."""
    made, gone, port_gone = ctx.new_request_id(), ctx.new_request_id(), ctx.new_request_id()
    found = [
        a_hop(0, id=made, request_id=made, kind="http", name="POST /ports", resource_id="p1"),
        a_hop(500, id=gone, request_id=gone, kind="http", name="DELETE /servers/s1", resource_id="s1"),
        a_hop(502, name="port DOWN", resource_id="p1"),
        a_hop(504, id=port_gone, request_id=port_gone, global_request_id=gone, cause=gone, kind="http",
              name="DELETE /ports/p1", resource_id="p1"),
    ]
    assert _operation(database, found, gone) == [
        ("DELETE /servers/s1", 0), ("port DOWN", 1), ("DELETE /ports/p1", 1),
    ]
    creation = Traces(database, ()).find(made)
    assert creation is not None
    assert [hop.name for hop in creation.hops] == ["POST /ports"]
    of_port = Traces(database, ()).find("p1")
    assert of_port is not None
    assert [(hop.name, depth) for hop, depth in zip(of_port.hops, of_port.depths, strict=True)] == [
        ("POST /ports", 0), ("DELETE /servers/s1", 0), ("port DOWN", 1), ("DELETE /ports/p1", 1),
    ]


def test_a_circle_of_causes_is_no_trap(database: Database) -> None:
    one, two = ctx.new_request_id(), ctx.new_request_id()
    found = [a_hop(0, id=one, request_id=one, cause=two), a_hop(1, id=two, request_id=two, cause=one,
                                                                  global_request_id=one)]
    assert len(_operation(database, found, one)) == 2


def test_what_nobody_knows_is_nothing(database: Database) -> None:
    assert Traces(database, ()).find("nonsense") is None
    assert Traces(database, ()).find(ctx.new_request_id()) is None
    assert Traces(None, ()).find("nonsense") is None
