"""A real Galera cluster of three members: whichever of them a process talks to, whichever die, nothing that was
accepted is lost, nothing happens twice, and callers see nothing but DatabaseUnavailable.
"""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Barrier

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import OperationalError

from engines.galera import (
    COUNTERS,
    MEMBERS,
    METADATA,
    ORDERS,
    WAIT_S,
    Load,
    opened,
    orders,
    place_order,
    url_at,
    url_through,
)
from engines.proxy import Switch
from pileus.kernel.db import Database, Tx
from pileus.kernel.db.mariadb import MariaDBBackend
from pileus.kernel.errors import Unavailable
from pileus.lab.engines.galera import GaleraCluster

pytestmark = pytest.mark.long

COUNTS_EACH = 60
spawn = multiprocessing.get_context("spawn")


# -- writers on different members --------------------------------------------------------------------------------------


def _count(url: str, start: Barrier, times: int) -> None:
    def once(tx: Tx, number: str) -> None:
        n = tx.scalar(select(COUNTERS.c.n).where(COUNTERS.c.id == number))
        assert tx.execute(
            update(COUNTERS).where(COUNTERS.c.id == number, COUNTERS.c.n == n).values(n=n + 1)
        ).rowcount == 1
        place_order(tx)

    with opened(url) as database:
        start.wait(WAIT_S)
        for n in range(times):
            database.run(once, str(n % 2))


def test_counters_that_all_members_write_at_once_lose_nothing(cluster: GaleraCluster, schema: str) -> None:
    urls = [url_at(member, schema) for member in cluster.members] * 2
    with opened(urls[0]) as database:
        database.create_all(METADATA)
        database.run(lambda tx: tx.execute(insert(COUNTERS), [{"id": "0", "n": 0}, {"id": "1", "n": 0}]))
        start = spawn.Barrier(len(urls) + 1)
        processes = [spawn.Process(target=_count, args=(url, start, COUNTS_EACH)) for url in urls]
        for process in processes:
            process.start()
        start.wait(WAIT_S)
        began = time.monotonic()
        for process in processes:
            process.join(WAIT_S)
        assert [process.exitcode for process in processes] == [0] * len(urls)
        total = COUNTS_EACH * len(urls)
        print(f"\n{total / (time.monotonic() - began):.0f} transactions a second, {len(urls)} writers on 3 members")
        assert [row.n for row in database.run(lambda tx: tx.all(select(COUNTERS)))] == [total / 2, total / 2]
    assert len(orders(cluster.members[0], schema)) == total


def test_what_one_member_accepted_every_other_member_shows(cluster: GaleraCluster, schema: str) -> None:
    first, *others = (Database(url_at(member, schema), name="galera") for member in cluster.members)
    first.create_all(METADATA)
    for n in range(200):
        order_id = first.run(place_order)
        found = others[n % 2].look(lambda tx: tx.all(select(ORDERS.c.id)))
        assert order_id in [row.id for row in found]
    for database in (first, *others):
        database.close()


def test_a_commit_that_is_still_under_way_elsewhere_does_not_count_and_never_will(
    cluster: GaleraCluster, schema: str
) -> None:
    """A proxy has moved while COMMIT was on its way: it arrives after it was asked for on another member."""
    slow, other = (MariaDBBackend(url_at(member, schema)) for member in cluster.members[:2])
    with opened(url_at(cluster.members[0], schema)) as database:
        database.create_all(METADATA)
    lost = OperationalError("COMMIT", None, Exception(2013, "lost"))
    with slow.connect(write=True) as connection, connection.begin() as transaction:
        slow.take_turn(connection)
        connection.execute(insert(ORDERS).values(id="late"))
        other._writer, other._number = slow._writer, slow._number
        assert not other.commit_stands(lost)
        with pytest.raises(OperationalError) as refused:
            transaction.commit()
        assert slow.verdict(refused.value).name == "PASSES"
    assert orders(cluster.members[0], schema) == []
    with slow.connect(write=True) as connection, connection.begin():
        slow.take_turn(connection)
        connection.execute(insert(ORDERS).values(id="in time"))
    other._number = slow._number
    assert other.commit_stands(lost)
    slow.close()
    other.close()


# -- members that die --------------------------------------------------------------------------------------------------


def test_the_death_of_a_member_that_nobody_writes_to(cluster: GaleraCluster, schema: str) -> None:
    writer, _, dies = cluster.members
    with opened(url_at(writer, schema)) as database:
        database.create_all(METADATA)
    with Load([url_at(writer, schema)] * 3) as load:
        dies.kill()
        load.go_on()
        load.pause("a member died")
        cluster.restart()
        load.go_on()
        load.pause("it came back")
    load.check(cluster, schema)
    assert load.refused == 0


def test_the_death_of_the_writer(cluster: GaleraCluster, schema: str) -> None:
    writer, next_writer, _ = cluster.members
    with opened(url_at(writer, schema)) as database:
        database.create_all(METADATA)
    with Switch(writer.place.address, writer.port) as switch, Load([url_through(switch, schema)] * 4) as load:
        for dies, takes_over in ((writer, next_writer), (next_writer, writer)):
            dies.kill()
            time.sleep(1)  # until a proxy's checks have noticed
            switch.turn(takes_over.place.address, takes_over.port)
            load.go_on()
            load.pause("the writer died, 1 s of it until the proxy turned")
            cluster.restart()
            load.pause("it came back")
    load.check(cluster, schema)
    assert load.refused == 0


@pytest.mark.parametrize("cut", [True, False], ids=["all at once", "one after the other"])
def test_a_writer_that_moves_back_and_forth_in_mid_work(cluster: GaleraCluster, schema: str, cut: bool) -> None:
    with opened(url_at(cluster.members[0], schema)) as database:
        database.create_all(METADATA)
    first = cluster.members[0]
    with Switch(first.place.address, first.port) as switch, Load([url_through(switch, schema)] * 4) as load:
        for n in range(20):
            member = cluster.members[n % MEMBERS]
            switch.turn(member.place.address, member.port, cut=cut)
            load.go_on(20)
    load.check(cluster, schema)
    assert load.refused == 0


def test_a_survivor_without_majority_refuses_and_goes_on_when_others_are_back(
    cluster: GaleraCluster, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pileus.kernel.db.database.RETRY_FOR_S", 3.0)
    monkeypatch.setattr("pileus.kernel.db.mariadb.COMMIT_CHECK_S", 3.0)
    survivor, *die = cluster.members
    with opened(url_at(survivor, schema)) as database:
        database.create_all(METADATA)
        with Load([url_at(survivor, schema)] * 2) as load:
            for member in die:
                member.kill()
            deadline = time.monotonic() + WAIT_S
            while load.refused < 4 and not load.errors:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            with pytest.raises(Unavailable):
                database.run(place_order)
            with pytest.raises(Unavailable):
                database.look(lambda tx: tx.all(select(ORDERS)))
            cluster.restart()
            load.go_on()
    assert load.unknown <= 2
    load.check(cluster, schema)


def test_all_members_are_killed_at_once_and_started_again(cluster: GaleraCluster, schema: str) -> None:
    with opened(url_at(cluster.members[0], schema)) as database:
        database.create_all(METADATA)
    before = cluster.members[0].variables()["wsrep_cluster_state_uuid"]
    with Load([url_at(member, schema) for member in cluster.members]) as load:
        cluster.kill()
        time.sleep(1)
        cluster.restart()
        load.go_on()
    load.check(cluster, schema)
    assert cluster.members[0].variables()["wsrep_cluster_state_uuid"] == before, "the history began anew"


def test_the_member_that_has_the_most_begins(cluster: GaleraCluster, schema: str) -> None:
    with opened(url_at(cluster.members[2], schema)) as database:
        database.create_all(METADATA)
        cluster.members[0].kill()
        placed = [database.run(place_order) for _ in range(20)]
    cluster.kill()
    cluster.restart()
    for member in cluster.members:
        assert sorted(orders(member, schema)) == sorted(placed)
