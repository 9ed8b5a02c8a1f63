"""A network node dies: another one takes its routers over, and guests are reached again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import resources

import pytest

from tests.lab.journey import Journey
from tests.lab.rehearsal import Rehearsal, until

pytestmark = [pytest.mark.guest, pytest.mark.long]


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    directory = tmp_path_factory.mktemp("net")
    shipped = (resources.files("pileus.lab") / "layouts" / "three-nodes.toml").read_text()
    head, _, _second_compute_node = shipped.partition("[hosts.compute2]")
    network = head[head.index("[hosts.network]"):head.index("[hosts.compute1]")]
    layout = directory / "two-network-nodes.toml"
    layout.write_text(head + network.replace("hosts.network", "hosts.network2"))
    with Rehearsal(directory, str(layout)) as running:
        yield running


def test_the_other_routes(lab: Rehearsal) -> None:
    journey = Journey(lab)
    journey.prepare()
    journey.boot("one")
    floating = journey.addresses["one"][1]
    (router,) = lab.stock("network", "agent", "list", "--router", "r")
    lab.fault("power-off", router["Host"])
    begun = time.monotonic()
    assert not lab.pings("internet", floating, count=1)
    assert lab.stock("server", "show", "one")["status"] == "ACTIVE"
    until(lambda: lab.pings("internet", floating, count=1), "the floating address by the other node")
    print(f"a network node without power: its floating addresses were away for {time.monotonic() - begun:.0f} s")
    (now,) = lab.stock("network", "agent", "list", "--router", "r")
    assert now["Host"] != router["Host"]
    lab.fault("power-on", router["Host"])
    until(lambda: lab.command("status", check=False).returncode == 0, "all of it up")
    assert lab.pings("internet", floating), "the node that is back disturbs the one that routes now"
    journey.delete_all()
