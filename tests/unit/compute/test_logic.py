"""Decisions of compute that need no service to be running."""

from __future__ import annotations

import asyncio

import pytest

from pileus.kernel.errors import BadRequest
from pileus.kernel.quota import Exceeded
from pileus.services.compute import states
from pileus.services.compute.api.servers.filters import _pattern
from pileus.services.compute.clients.network import FixedIp, FloatingIp, Port
from pileus.services.compute.db.servers import FlavorCopy, Vif, VifAddress
from pileus.services.compute.errors import InvalidKeyPair, QuotaExceeded
from pileus.services.compute.flows.port_watch import PortWatch
from pileus.services.compute.logic import extra_specs, hostnames, key_material, network_info, resources, zones


def test_every_status_maps_back_to_states_that_read_as_it() -> None:
    for word in set(states.STATUS_OF_VM_STATE.values()) | set(states.STATUS_OF_TASK.values()):
        for vm_state, task in states.states_of(word):
            assert states.status_of(vm_state, task) == word
    assert states.states_of("nonsense") == []
    assert states.status_of(states.ACTIVE, states.POWERING_OFF) == "ACTIVE"
    assert states.status_of(states.ACTIVE, states.REBOOTING_HARD) == "HARD_REBOOT"


@pytest.mark.parametrize(
    ("name", "hostname"),
    [
        ("web", "web"), ("Web Server_1", "web-server-1"), ("a.b", "a-b"), ("--x--", "x"), ("y" * 80, "y" * 63),
        ("ümlaut", "mlaut"), ("日本", "Server-id"),
    ],
)
def test_hostnames_come_from_names(name: str, hostname: str) -> None:
    assert hostnames.from_name(name, "id") == hostname


def test_given_hostnames_are_checked() -> None:
    assert hostnames.checked("host-1", qualified=False) == "host-1"
    assert hostnames.checked("host.example.org", qualified=True) == "host.example.org"
    for bad in ("host.example.org", "-x", "x-", "under_score", "", "x" * 64, "new\nline"):
        with pytest.raises(BadRequest):
            hostnames.checked(bad, qualified=False)


def test_zones() -> None:
    assert zones.parse(None) == zones.Placement()
    assert zones.parse("nova") == zones.Placement("nova")
    assert zones.parse("nova:h1") == zones.Placement("nova", "h1", None, True)
    assert zones.parse("nova::n1") == zones.Placement("nova", None, "n1", True)
    with pytest.raises(BadRequest):
        zones.parse("a:b:c:d")


def test_the_words_for_broken_quotas() -> None:
    error = QuotaExceeded.of([Exceeded("instances", 10, 10, 2), Exceeded("cores", 20, 19, 4)], "p1")
    assert error.text == (
        "Quota exceeded for cores, instances: Requested 4, 2, but already used 19, 10 of 20, 10 cores, instances"
    )
    assert error.detail == (
        "cores: 19 of 20 used in project p1, 4 asked; instances: 10 of 10 used in project p1, 2 asked"
    )


def test_what_a_flavor_needs() -> None:
    flavor = FlavorCopy("1", "f", 2, 512, 10, 5, 100, extra_specs={"resources:VCPU": "0", "resources:CUSTOM_X": "3"})
    assert resources.needs(flavor) == {"MEMORY_MB": 512, "DISK_GB": 16, "CUSTOM_X": 3}
    flavor = FlavorCopy("1", "f", 1, 1, 0, extra_specs={"trait:A": "required", "trait:B": "forbidden"})
    assert resources.traits(flavor, None) == (frozenset({"A"}), frozenset({"B"}))


def test_extra_specs_of_known_namespaces_are_checked() -> None:
    for key, value in (("hw:numa_nodes", "2"), ("trait:CUSTOM_A", "required"), ("free:key", "anything")):
        extra_specs.check(key, value)
    for key, value in (("hw:numa_nodes", "two"), ("trait:CUSTOM_A", "perhaps"), ("hw:unheard_of", "1")):
        with pytest.raises(BadRequest):
            extra_specs.check(key, value)


def test_generated_keys_have_the_fingerprint_of_their_public_half() -> None:
    _, public = key_material.generate_ssh_key()
    assert key_material.fingerprint("ssh", public) == key_material.fingerprint("ssh", public.rsplit(" ", 1)[0])
    with pytest.raises(InvalidKeyPair):
        key_material.fingerprint("x509", public)


def test_patterns_that_could_be_slow_are_taken_literally() -> None:
    assert _pattern("web-[0-9]+$") == "web-[0-9]+$"
    for slow in ("(a+)+$", "(a|aa)*b", "(.*)*x", "a**"):
        try:
            assert _pattern(slow) != slow
        except BadRequest:
            continue


def test_refreshed_interfaces_keep_order_and_origin() -> None:
    known = (
        Vif("p1", "m1", "n1", "net", tag="front", created=False), Vif("p2", "m2", "n1", "net", addresses=()),
    )
    ports = [
        Port("p2", "n1", "m2", status="ACTIVE", fixed_ips=(FixedIp("10.0.0.5", "s"),), security_groups=("g1",)),
        Port("p3", "n2", "m3"),
    ]
    floating = network_info.floating_by_fixed([FloatingIp("f", "192.0.2.1", "10.0.0.5", "p2")])
    found = network_info.refreshed(known, ports, floating, {"g1": "default"}, {"n1": "net", "n2": "other"})
    assert [(v.port_id, v.network_name, v.created) for v in found] == [("p2", "net", True), ("p3", "other", False)]
    assert found[0].addresses == (VifAddress("10.0.0.5", 4, "s", ("192.0.2.1",)),)
    assert found[0].security_groups == ("default",)


class Ports:
    """A network client that knows the status of ports and counts how often it is asked."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.asked = 0

    async def ports(self, *, ids: list[str]) -> list[Port]:
        self.asked += 1
        return [Port(port_id, "n", status=self.status.get(port_id, "DOWN")) for port_id in ids]


def test_the_port_watch_needs_no_question_when_it_heard() -> None:
    async def scenario() -> None:
        client = Ports()
        watch = PortWatch(client)  # type: ignore[arg-type]
        watch.heard("a", "ACTIVE")
        await watch.until_active(["a"], 1)
        waiting = asyncio.create_task(watch.until_active(["a", "b", "c"], 5))
        await asyncio.sleep(0)
        watch.heard("c", "ACTIVE")
        watch.heard("b", "DOWN")
        await asyncio.sleep(0)
        assert not waiting.done()
        watch.heard("b", "ACTIVE")
        await asyncio.wait_for(waiting, 1)
        assert client.asked == 0
        with pytest.raises(TimeoutError, match="ports not wired"):
            await watch.until_active(["d"], 0.05)

    asyncio.run(scenario())
