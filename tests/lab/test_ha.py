"""Three controllers behind a virtual address: the journey through it, and what the loss of one costs."""

from __future__ import annotations

import pytest

from tests.lab.journey import Journey
from tests.lab.outage import Outage
from tests.lab.rehearsal import Rehearsal, until

pytestmark = [pytest.mark.guest, pytest.mark.long]

LAYOUT = "ha"
IDENTITY = "http://10.20.0.4:8901/identity/v3"
CONTROLLERS = ("controller1", "controller2", "controller3")
API_BACK_S = 5.0
"""3 s is the promise for a machine of one's own; here eight hosts share two processors."""


def holder(lab: Rehearsal) -> str:
    """Who has the virtual address."""
    shown = lab.command("status", check=False).stdout
    return next(line.split()[-1] for line in shown.splitlines() if line.startswith("VIP"))


def test_guests_on_two_hosts_through_the_virtual_address(journey: Journey) -> None:
    journey.everything_works("one", "two")


@pytest.mark.parametrize("engine", ["keepalived", "haproxy", "galera", "rabbitmq", "memcached"])
def test_an_engine_of_the_holder_killed(lab: Rehearsal, journey: Journey, engine: str) -> None:
    """The API answers soon again, a request that needs all of it works while the engine is away, and it comes back."""
    first = holder(lab)
    with Outage(lab, IDENTITY) as outage:
        lab.fault("kill", first, engine)
        kind = ("--image", "guest", "--flavor", "nano", "--network", "inside")
        lab.stock("server", "create", f"x-{engine}", *kind)
        until(lambda: lab.stock("server", "show", f"x-{engine}")["status"] == "ACTIVE", "a server meanwhile")
    print(f"{engine} of the holder killed: {outage}")
    assert outage.longest_s < API_BACK_S, outage
    lab.do("server", "delete", f"x-{engine}", "--wait")
    lab.fault("start", first)
    until(lambda: lab.command("status", check=False).returncode == 0, "all of it up")


def test_a_controller_without_power(lab: Rehearsal, journey: Journey) -> None:
    first = holder(lab)
    with Outage(lab, IDENTITY) as outage:
        lab.fault("power-off", first)
        until(lambda: lab.stock("server", "list"), "a list")
    print(f"power-off of the holder: {outage}")
    assert outage.longest_s < API_BACK_S, outage
    assert lab.pings("internet", journey.addresses["one"][1])
    lab.fault("power-on", first)
    until(lambda: lab.command("status", check=False).returncode == 0, "all of it up")


def test_all_controllers_without_power(lab: Rehearsal, journey: Journey) -> None:
    """Guests go on; when all are back, so is the cloud, with what it knew."""
    lab.fault("power-off", *CONTROLLERS)
    assert lab.pings("internet", journey.addresses["one"][1])
    lab.fault("power-on", *CONTROLLERS)
    until(lambda: lab.command("status", check=False).returncode == 0, "all of it up")
    names = until(lambda: {server["Name"] for server in lab.stock("server", "list")}, "a list")
    assert names == {"one", "two"}
    journey.everything_works("one", "two")


def test_the_journey_ends_with_nothing(journey: Journey) -> None:
    journey.delete_all()
