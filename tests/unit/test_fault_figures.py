"""The accounting after faults sees what it is there to see, and figures are what they say."""

from __future__ import annotations

import msgspec
import pytest

from tests.lab import figures, promises
from tests.lab.steady_load import Boot, Call, Record, Server

GUESTS = {"compute1": ["a"], "compute2": []}


def record(*servers: Server, **boots: Boot) -> Record:
    return Record([], boots, list(servers), [name for name, boot in boots.items() if not boot.over])


def boot(**more: object) -> Boot:
    return msgspec.structs.replace(Boot(0.0, id="a", ids={"a"}, ended=1.0, state="ACTIVE"), **more)


def server(**more: object) -> Server:
    return msgspec.structs.replace(Server("a", "s", "ACTIVE", "compute1", "", ("p",), 1), **more)


def test_what_is_as_it_should_be_is_accounted_for() -> None:
    gone = boot(id="b", ids={"b"}, state="GONE", delete_asked=True, delete_accepted=True)
    refused = Boot(0.0, state="")
    assert figures.unaccounted(record(server(), s=boot(), gone=gone, refused=refused), GUESTS) == []


@pytest.mark.parametrize(("found", "guests", "sentence"), [
    (record(s=boot(state="GONE")), {}, "vanished though nobody deleted it"),
    (record(s=boot(state="", ids=set())), {}, "s did not end"),
    (record(s=boot(state="BUILD")), {}, "s did not end"),
    (record(s=boot(delete_accepted=True, delete_asked=True)), {}, "s did not end"),
    (record(server(), s=boot(ids={"a", "b"})), GUESTS, "made 2 times"),
    (record(server(), server(id="b"), s=boot()), GUESTS, "is there 2 times"),
    (record(server(providers=("p", "q")), s=boot()), GUESTS, "has allocations from"),
    (record(server(providers=()), s=boot()), GUESTS, "has allocations from"),
    (record(server(ports=2), s=boot()), GUESTS, "has 2 ports"),
    (record(server(), s=boot()), {"compute1": ["a"], "compute2": ["a"]}, "runs on ['compute1', 'compute2']"),
    (record(server(), s=boot()), {"compute2": ["a"]}, "is on compute1 and runs on ['compute2']"),
    (record(server(), s=boot()), {"compute1": []}, "runs on []"),
    (record(s=boot(state="GONE", delete_asked=True)), GUESTS, "a guest on compute1 of no server"),
    (record(server(status="ERROR"), s=boot(state="ERROR")), {}, "without a fault"),
])
def test_what_is_wrong_is_said(found: Record, guests: dict[str, list[str]], sentence: str) -> None:
    assert sentence in "\n".join(figures.unaccounted(found, guests))


def test_downtime_is_the_longest_wait_of_somebody_who_asks_again() -> None:
    lists = [
        Call(api, at, at + (0.1 if good else 2.0), 200 if good else 503)
        for api in ("identity", "placement", "image", "network") for at, good in ((0.0, True), (9.0, True))
    ]
    lists += [Call("compute", at, at + 0.1, 200 if at < 3 or at > 6 else 0) for at in (1.0, 2.0, 3.0, 4.0, 7.0)]
    boots = {"quick": Boot(0.0, ended=2.0), "late": Boot(3.5, ended=11.0), "usual": Boot(20.0, ended=21.0)}
    lists.append(Call("boot", 5.0, 5.5, 502, "Bad Gateway"))
    found = figures.of(Record(lists, boots, [], []), fault="f", promise="p", limit_s=3.0, at=3.0, over=4.0)
    assert (found.downtime_s, found.api) == (4.1, "compute")
    assert (found.failed, found.calls, found.boots) == (3, 14, 3)
    assert (found.usual_s, found.recover_s) == (2.0, 7.0)
    assert "| p **✗** | f | 4.10 (compute) | 3 of 14 | 7.0 | 0 of 3 |" in promises.page([found])
