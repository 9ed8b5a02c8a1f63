"""What is removed or spoiled by hand is put right, by running agents and by ones that start later; nothing else
notices: no packet of others is lost and no device, namespace or process of theirs is made anew."""

from __future__ import annotations

import signal

import pytest

from tests.scenario.network_plane.plane import wait_until

from .damage import ALL, Damage, inflict
from .site import REPAIR_S, Site
from .snapshot import differences, look

# One of each kind of thing every time; the others take minutes.
EVERY_TIME = frozenset({
    "bridge removed", "vxlan of another port", "tap out of its bridge", "main jump removed", "all rules removed",
    "router's namespace removed", "default route to somewhere else", "floating address not translated",
    "DHCP's namespace removed", "dnsmasq killed", "lease file removed", "pid file removed",
})  # fmt: skip
CASES = [
    pytest.param(damage, id=damage.name, marks=() if damage.name in EVERY_TIME else pytest.mark.long) for damage in ALL
]


@pytest.mark.parametrize("damage", CASES)
def test_damage_is_put_right(site: Site, damage: Damage) -> None:
    site.have_agent()
    site.wait_repaired()
    site.forget_losses()
    before = site.identities()

    inflict(site, damage)  # while the agents run
    site.wait_repaired()

    site.stop_agent(signal.SIGKILL)  # and while they do not
    assert not differences(site.right, look(site.host)), "an agent that ended spoiled something"
    inflict(site, damage)
    assert differences(site.right, look(site.host)), "this damage is not seen"
    site.start_agent()
    site.wait_repaired()

    if damage.disturbs:
        wait_until("what the damage was in the way of works", lambda: works_again(site, damage), REPAIR_S)
    assert site.losses(*damage.disturbs) == {}
    assert site.identities() == before
    works(site)


def works_again(site: Site, damage: Damage) -> bool:
    for name in damage.disturbs:
        site.pings[name].forget()
    return True


def works(site: Site) -> None:
    """The damaged side does its work: neighbours, router, floating address, metadata both ways."""
    wait_until("the neighbour answers", lambda: site.a.pings(site.b.ip, wait_s=0.5), REPAIR_S)
    wait_until("the world answers", lambda: site.b.pings("203.0.113.50", wait_s=0.5), REPAIR_S)
    wait_until("the floating address answers", lambda: site.outsider.pings("203.0.113.100", wait_s=0.5), REPAIR_S)
    wait_until("metadata answers", lambda: metadata(site), REPAIR_S)


def metadata(site: Site) -> bool:
    """Through the router, and through DHCP's port."""
    ask = ("curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", "http://169.254.169.254/")
    through_router = site.a.run(*ask).stdout
    site.a.run("ip", "route", "add", "169.254.169.254", "via", "10.0.0.2")
    through_dhcp = site.a.run(*ask).stdout
    site.a.run("ip", "route", "del", "169.254.169.254")
    return through_router == through_dhcp == "200"
