"""A controller, a network node and two compute nodes, on a real broker and database: the journey, one host's end."""

from __future__ import annotations

import pytest

from tests.lab.journey import Journey
from tests.lab.rehearsal import Rehearsal, until

pytestmark = [pytest.mark.guest, pytest.mark.long]

LAYOUT = "three-nodes"


def test_guests_on_two_hosts(journey: Journey) -> None:
    """They know themselves, reach each other over VXLAN, and the internet reaches them."""
    journey.everything_works("one", "two")


def test_hosts_of_agents_hold_neither_database_password_nor_key(lab: Rehearsal) -> None:
    for host in ("network", "compute1", "compute2"):
        assert "mysql" not in (lab.disk(host) / "config" / "pileus.toml").read_text()
        assert not (lab.disk(host) / "state" / "cluster.key").exists()


def test_a_killed_engine_is_shown_and_started_again(lab: Rehearsal) -> None:
    for engine in ("mariadb", "rabbitmq", "memcached"):
        lab.fault("kill", "controller", engine)
        shown = lab.command("status", check=False)
        assert shown.returncode == 1
        assert f"engine {engine}" in shown.stdout
        assert "DOWN" in shown.stdout
    lab.fault("start", "controller")
    lab.command("status")
    until(lambda: lab.stock("server", "list"), "an answer")


def test_a_host_that_was_off_has_its_guest_again(lab: Rehearsal, journey: Journey) -> None:
    host = journey.host("one")
    lab.fault("power-off", host)
    assert not lab.pings("internet", journey.addresses["one"][1], count=1)
    assert lab.pings("internet", journey.addresses["two"][1])
    lab.fault("power-on", host)
    until(lambda: lab.pings("internet", journey.addresses["one"][1], count=1), "the guest after its host's start")


def test_the_journey_ends_with_nothing(journey: Journey) -> None:
    journey.delete_all()
