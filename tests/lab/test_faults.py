"""The promises on faults: each of them under a steady load of boots, deletes and lists, with its figure.

Afterwards every accepted request has ended, once, and nothing is left. The figures are kept in build/promises;
`make promises` writes docs/operate/promises.md from them. $PILEUS_TEST_SEED repeats the order of a cold start.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator

import msgspec
import pytest

from pileus.lab import engine_set, report
from pileus.lab import lab as labs
from pileus.lab import layout as layouts
from pileus.lab.engines.haproxy import HAProxy
from tests.lab import fault_layout, figures
from tests.lab.fault_layout import COMPUTES, CONTROLLERS
from tests.lab.rehearsal import Rehearsal, until
from tests.lab.steady_load import Left, SteadyLoad
from tests.scenario.kills.chaos import seed

pytestmark = pytest.mark.long

BEFORE_S, AFTER_S = 15.0, 20.0
BROKERS_AWAY_S = 60.0
CUT_S = 30.0
BACK_S = 3.0
"""The promise for the loss of one."""
SLOW_MACHINE_S = 7.0
"""What eight hosts and their load on two processors may add before it is a failure, not a figure."""
WELL_LIMIT_S = 300.0
Act = Callable[["Cloud"], None]


class Fault(msgspec.Struct, frozen=True):
    """name: of its file. words: of its row. begin: does it. end: ends it, for faults that last so long (`lasts_s`);
    what is down after the load is started again in any case. limit_s: the longest downtime that is promised."""

    name: str
    words: str
    begin: Act
    end: Act | None = None
    lasts_s: float = 0.0
    promise: str = "API back within 3 s after the loss of one"
    limit_s: float | None = BACK_S


class Cloud:
    """The lab with its load. victim: the host whose cable was pulled."""

    def __init__(self, lab: Rehearsal, load: SteadyLoad) -> None:
        self.lab = lab
        self.load = load
        directory = lab.labs / lab.name
        self.home = labs.Lab(directory, layouts.read(directory / "layout.toml"))
        self.victim = ""

    def holder(self) -> str:
        """Who has the virtual address."""
        return until(lambda: report.vip_holder(self.home), "a holder of the virtual address")[0]

    def writer(self) -> str:
        """The member of Galera that HAProxy has in use."""
        proxy = engine_set.EngineSet(self.home).members[self.holder(), "haproxy"]
        assert isinstance(proxy, HAProxy)
        said = proxy.ask("show table database")
        number = re.search(r"server_id=(\d+)", said)
        assert number is not None, said
        return self.home.layout.with_engine("galera")[int(number.group(1)) - 1]

    def kill(self, host: str, *names: str) -> None:
        """SIGKILL."""
        for name in names:
            self.lab.fault("kill", host, name)

    def well(self) -> None:
        """Start what is down, and see that all is up and takes servers again."""
        if self.victim:
            self.lab.fault("heal", self.victim)
            self.victim = ""
        self.lab.fault("power-on", *self.home.layout.hosts)
        until(lambda: self.lab.command("status", check=False).returncode == 0, "all of it up", WELL_LIMIT_S)


def kill(name: str, host: str = CONTROLLERS[0]) -> Act:
    """SIGKILL one process or engine of a host."""
    return lambda cloud: cloud.kill(host, name)


def kill_everywhere(name: str) -> Act:
    """SIGKILL an engine on all controllers."""

    def act(cloud: Cloud) -> None:
        for host in CONTROLLERS:
            cloud.kill(host, name)

    return act


def start_everywhere(cloud: Cloud) -> None:
    """Start what is down on the controllers."""
    cloud.lab.fault("power-on", *CONTROLLERS)


def a_bystander(cloud: Cloud) -> str:
    """A member of Galera that is not in use."""
    return next(host for host in CONTROLLERS if host != cloud.writer())


def cut_the_holder(cloud: Cloud) -> None:
    """Pull the management cable of the controller that has the virtual address."""
    cloud.victim = cloud.holder()
    cloud.lab.fault("cut", cloud.victim, "management")


def power_off(cloud: Cloud) -> None:
    """Everything, at once."""
    cloud.lab.fault("power-off", *cloud.home.layout.hosts)


def power_on(cloud: Cloud) -> None:
    """All hosts, in any order: those of agents before, after and between; the controllers with one word, since the one
    that has the most must begin."""
    order = [[host] for host in COMPUTES] + [random.sample(CONTROLLERS, len(CONTROLLERS))]
    random.shuffle(order)
    print(f"power-on: {order}", flush=True)
    for hosts in order:
        cloud.lab.fault("power-on", *hosts)


NO_PROMISE = "nothing lost, nothing done twice; the cloud is back by itself"
FAULTS = [
    *(
        Fault(f"1-{name}-api", f"kill -9 of one {name} API", kill(name, CONTROLLERS[number % 3]))
        for number, name in enumerate(("identity", "placement", "image", "network", "compute"))
    ),
    Fault("2-scheduler", "kill -9 of one scheduler", kill("scheduler", "controller2")),
    Fault("2-conductor", "kill -9 of one conductor", kill("conductor", "controller3")),
    Fault("3-rabbitmq", "kill -9 of one RabbitMQ member", kill("rabbitmq", "controller1")),
    Fault(
        "3-rabbitmq-all", "all of RabbitMQ away for 60 s", kill_everywhere("rabbitmq"), start_everywhere,
        BROKERS_AWAY_S, "without RabbitMQ, reads are answered and requests accepted; they go on when it is back",
    ),
    Fault("4-galera", "kill -9 of a Galera member", lambda cloud: cloud.kill(a_bystander(cloud), "galera")),
    Fault("4-galera-writer", "kill -9 of the Galera member in use", lambda cloud: cloud.kill(cloud.writer(), "galera")),
    Fault("5-memcached", "kill -9 of all memcached", kill_everywhere("memcached"),
          promise="losing memcached changes latency only"),
    Fault("6-haproxy", "kill -9 of HAProxy where the virtual IP is",
          lambda cloud: cloud.kill(cloud.holder(), "haproxy")),
    Fault("6-power", "power-off of the controller that has the virtual IP",
          lambda cloud: cloud.lab.fault("power-off", cloud.holder())),
    Fault("7-cut", "management network of the controller that has the virtual IP cut for 30 s", cut_the_holder,
          lambda cloud: cloud.lab.fault("heal", cloud.victim), CUT_S),
    *(
        Fault(f"8-cold-start-{number}", f"power loss of everything, cold start {number}", power_off, power_on, 5.0,
              NO_PROMISE, None)
        for number in (1, 2)
    ),
]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("faults")
    with Rehearsal(directory, str(fault_layout.write(directory))) as lab, SteadyLoad(lab) as load:
        yield Cloud(lab, load)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_request_is_lost_or_done_twice(cloud: Cloud, fault: Fault) -> None:
    random.seed(seed())
    cloud.load.begin()
    time.sleep(BEFORE_S)
    at = over = time.monotonic()
    fault.begin(cloud)
    if fault.end is not None:
        time.sleep(fault.lasts_s)
        over = time.monotonic()
        fault.end(cloud)
    time.sleep(AFTER_S)
    with contextlib.ExitStack() as afterwards:
        afterwards.callback(cloud.well)
        record = cloud.load.rest()
        found = figures.of(
            record, fault=fault.words, promise=fault.promise, limit_s=fault.limit_s, at=at, over=over
        )
        print(found, dict(figures.failures(record)), sep="\n", flush=True)
        running = figures.guests(cloud.lab, COMPUTES)
    wrong = figures.unaccounted(record, running)
    assert not wrong, "\n".join(wrong)
    assert cloud.load.clear() == Left([], 0, 0)
    assert figures.guests(cloud.lab, COMPUTES) == {host: [] for host in COMPUTES}
    wrong = figures.verified(cloud.lab, CONTROLLERS[0])
    assert not wrong, "\n".join(wrong)
    figures.keep(fault.name, found)
    assert found.limit_s is None or found.downtime_s < found.limit_s + SLOW_MACHINE_S, found
