"""Whatever is claimed in whatever order: never more than there is, and the books always agree with a plain model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pileus.kernel.db import Database, Tx
from pileus.kernel.errors import ServiceError
from pileus.services.placement.db import METADATA, allocations, claims, consumers, inventories, providers
from pileus.services.placement.db.claims import Claim
from pileus.services.placement.logic.amounts import Inventory

OWNERS = ("project", "user")
HOSTS = ("host-a", "host-b")
STOCK = {"VCPU": Inventory(total=4, reserved=1, allocation_ratio=2.0), "DISK_GB": Inventory(total=10, max_unit=5)}
Wanted = dict[str, dict[str, int]]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = Database.sqlite(tmp_path_factory.mktemp("claims") / "placement.sqlite", name="placement")
    opened.create_all(METADATA)
    yield opened
    opened.close()


def _empty(tx: Tx) -> None:
    for table in reversed(METADATA.sorted_tables):
        tx.execute(table.delete())
    for name in HOSTS:
        inventories.replace(tx, providers.insert(tx, name, name, None).id, STOCK)


def _books(tx: Tx) -> dict[tuple[str, str], int]:
    names = {provider.id: provider.uuid for provider in providers.locked(tx, uuids=HOSTS).values()}
    return {(names[key], name): used for (key, name), used in allocations.usage_of(tx).items()}


shares = st.dictionaries(
    st.sampled_from(HOSTS), st.dictionaries(st.sampled_from(["VCPU", "DISK_GB"]), st.integers(1, 6), min_size=1)
)
steps = st.lists(st.lists(st.tuples(st.sampled_from(["c1", "c2", "c3"]), shares), min_size=1, max_size=2), max_size=8)


@given(steps)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_books_agree_and_nothing_is_given_out_twice(database: Database, steps: list[list[tuple[str, Wanted]]]) -> None:
    database.run(_empty)
    model: dict[str, Wanted] = {}
    for step in steps:
        wanted = dict(step)
        batch = [Claim(consumer_uuid=name, allocations=allocation) for name, allocation in wanted.items()]
        after = {name: item for name, item in (model | wanted).items() if item}
        code = _try(database, batch)
        if code is None:
            assert _fits(after)
            model = after
        else:
            assert code == 409
            assert not _fits(after) or _odd(wanted)
        assert database.run(_books) == _sum(model)
        for name in ("c1", "c2", "c3"):
            assert (database.run(consumers.get, name) is not None) == (name in model)


def _try(database: Database, batch: list[Claim]) -> int | None:
    """The status of the refusal, or None."""
    try:
        database.run(claims.replace, batch, OWNERS)
    except ServiceError as error:
        return error.code
    return None


def _sum(model: dict[str, Wanted]) -> dict[tuple[str, str], int]:
    total: dict[tuple[str, str], int] = {}
    for allocation in model.values():
        for host, amounts in allocation.items():
            for name, amount in amounts.items():
                total[host, name] = total.get((host, name), 0) + amount
    return total


def _fits(model: dict[str, Wanted]) -> bool:
    return all(amount <= STOCK[name].capacity for (_, name), amount in _sum(model).items())


def _odd(wanted: dict[str, Wanted]) -> bool:
    """Whether an amount is asked for that the inventory does not give out at all."""
    lines = (line for allocation in wanted.values() for amounts in allocation.values() for line in amounts.items())
    return any(not STOCK[name].gives_out(amount) for name, amount in lines)
