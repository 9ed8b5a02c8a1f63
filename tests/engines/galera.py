"""What the tests of a Galera cluster share: a table, the ways to a member, and clients that never stop."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Column, Integer, MetaData, String, Table, insert

from engines.proxy import Switch
from pileus.kernel.db import Database, DatabaseUnavailable, Tx
from pileus.lab.engines.galera import GaleraCluster, GaleraMember

METADATA = MetaData()
COUNTERS = Table("counters", METADATA, Column("id", String(1), primary_key=True), Column("n", Integer, nullable=False))
ORDERS = Table("orders", METADATA, Column("id", String(36), primary_key=True))
USER, PASSWORD = "pileus", "secret"
MEMBERS = 3
WAIT_S = 180.0
STALL_S = 5.0
"""More than is promised: the machine may be busy with other tests. `-s` shows what it was."""


def url_at(member: GaleraMember, schema: str) -> str:
    return f"mysql+pymysql://{USER}:{PASSWORD}@{member.place.address}:{member.port}/{schema}"


def url_through(switch: Switch, schema: str) -> str:
    return f"mysql+pymysql://{USER}:{PASSWORD}@127.0.0.1:{switch.port}/{schema}"


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url, name="galera")
    try:
        yield database
    finally:
        database.close()


def place_order(tx: Tx) -> str:
    """Makes its id itself: run twice, it would be two orders."""
    order_id = str(uuid.uuid4())
    tx.execute(insert(ORDERS).values(id=order_id))
    return order_id


def orders(member: GaleraMember, schema: str) -> list[str]:
    return [row[0] for row in member.execute(f"SET wsrep_sync_wait = 1; SELECT id FROM {schema}.orders")]


class Load:
    """Clients that place orders all the time, each with a database of its own."""

    def __init__(self, urls: list[str]) -> None:
        self.placed: list[str] = []
        self.refused = self.unknown = 0
        self.longest_pause_s = 0.0
        self.errors: list[BaseException] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._order, args=(url,)) for url in urls]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def go_on(self, more: int = 100) -> None:
        """Return when so many more orders are placed."""
        enough, deadline = len(self.placed) + more, time.monotonic() + WAIT_S
        while len(self.placed) < enough and not self.errors:
            assert time.monotonic() < deadline, "no orders are placed"
            time.sleep(0.02)

    def pause(self, what: str) -> None:
        """See how long the longest pause was since the last look, and that users can live with it."""
        with self._lock:
            longest_s, self.longest_pause_s = self.longest_pause_s, 0.0
        print(f"\n{what}: a pause of {longest_s:.2f} s")
        assert longest_s < STALL_S

    def _order(self, url: str) -> None:
        last = time.monotonic()
        with opened(url) as database:
            while not self._stop.is_set():
                try:
                    order_id = database.run(place_order)
                    with self._lock:
                        self.placed.append(order_id)
                        self.longest_pause_s = max(self.longest_pause_s, time.monotonic() - last)
                except DatabaseUnavailable as error:
                    with self._lock:
                        self.refused += 1
                        self.unknown += "not known" in error.text
                except BaseException as error:  # the test says what it was
                    self.errors.append(error)
                    return
                last = time.monotonic()

    def check(self, cluster: GaleraCluster, schema: str) -> None:
        """All that was placed is on every member, and no order twice."""
        assert self.errors == []
        kept = [set(orders(member, schema)) for member in cluster.members]
        assert kept[0] == kept[1] == kept[2]
        assert set(self.placed) <= kept[0]
        assert len(kept[0]) - len(self.placed) <= self.unknown
        print(f"\n{len(self.placed)} orders, {self.refused} refused, {self.unknown} not known")
