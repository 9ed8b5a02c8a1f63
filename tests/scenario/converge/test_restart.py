"""Agents that end and come back: nobody notices, and what was given up meanwhile is removed."""

from __future__ import annotations

import signal

import pytest
from msgspec.structs import replace

from tests.scenario.network_plane.plane import alive, first_line, wait_until

from .site import REPAIR_S, Site
from .snapshot import identities


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_restart_loses_no_packet_and_no_connection(site: Site, number: int) -> None:
    site.have_agent()
    site.forget_losses()
    before = identities(site.host, {""})
    with site.d.listen(80), site.e.listen(80), site.c.listen(80):
        flows = [
            site.c.connect(site.d.ip, 80, 3), site.c.connect(site.e.ip, 80, 3),
            site.outsider.connect("203.0.113.200", 80, 3),
        ]  # fmt: skip
        for flow in flows:
            first_line(flow)
        for _ in range(3):
            site.stop_agent(number)
            site.start_agent()
            site.settle()
        assert site.losses() == {}
        assert all(alive(flow, 5) for flow in flows)
        for flow in flows:
            flow.close()
    assert identities(site.host, {""}) == before  # every device, namespace and dnsmasq is the one it was


def test_what_is_given_up_while_the_agent_is_down_goes_and_foreign_things_stay(site: Site) -> None:
    host = site.host
    site.have_agent()
    host.run("sh", "-ec", FOREIGN)
    foreign = host.run("sh", "-c", SHOW_FOREIGN).stdout
    site.forget_losses()
    before = site.identities()
    site.stop_agent(signal.SIGKILL)
    # A namespace that an agent made and had no time to mark, as its death leaves it.
    host.run("nsenter", f"--net=/run/netns/{site.router_netns}", "ip", "link", "set", "lo", "alias", "")
    gone = [site.router_netns, site.dhcp_netns, site.bridge, f"vxlan-{site.network.segmentation_id}"]
    _give_up_the_damaged_side(site)
    site.start_agent()

    def left() -> list[str]:
        names = {*host.links(), *host.ip("netns", "list").split()}
        rules = host.run("iptables-save").stdout + host.run("nft", "list", "ruleset").stdout
        found = [name for name in gone if name in names]
        found += [site.a.port.id[:11]] if site.a.port.id[:11] in rules else []
        found += ["dnsmasq"] if host.run("pgrep", "-f", site.network.id, check=False).stdout else []
        return found + host.run("ls", "/run/dhcp").stdout.split().count(site.network.id) * ["files"]

    wait_until("nothing is left", lambda: not left(), REPAIR_S)
    assert site.losses() == {}
    assert site.identities() == before
    assert host.run("sh", "-c", SHOW_FOREIGN).stdout == foreign


def _give_up_the_damaged_side(site: Site) -> None:
    host = site.host
    router_ports = {interface.port_id for interface in site.router.interfaces}
    assert site.router.gateway is not None
    for port_id in (*router_ports, site.router.gateway.port_id, site.dhcp.port_id, site.a.port.id, site.b.port.id):
        del host.ports[port_id]
    del host.networks[site.network.id]
    site.plane.set_routers(site.quiet_router)
    site.plane.set_dhcp(site.quiet_dhcp)
    host.networks = {key: replace(network) for key, network in host.networks.items()}


# Things of somebody else, with names as ours or nearly.
FOREIGN = """
ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
ip link add brqdeadbeef-00 type bridge; ip link set brqdeadbeef-00 up
ip link add virbr0 type bridge; ip link set virbr0 alias 'pileus:other zone=9'
ip link add vxlan-99999 type vxlan id 99999 dstport 4790
ip link add tapfeedfeed-00 type veth peer name foreign1; ip link set tapfeedfeed-00 master docker0
ip tuntap add dev tapcafecafe-0 mode tap
for name in qrouter-mine qdhcp-mine qrouter-00000000-0000-4000-8000-000000000000 other; do
  ip netns add $name; ip -n $name link add qr-x type veth peer name qr-y; done
ip -n qdhcp-mine link set lo alias pileus:other
iptables -N DOCKER; iptables -A DOCKER -j RETURN; iptables -I FORWARD -o docker0 -j DOCKER
iptables -N pileus-user; iptables -A pileus-user -s 198.51.100.7 -j ACCEPT; iptables -A FORWARD -j pileus-user
iptables -N pil0000-forward; iptables -A pil0000-forward -j RETURN
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
nft add table bridge pil0000; nft add chain bridge pil0000 mine; nft add table inet filter
mkdir -p /run/other; dnsmasq --conf-file=/dev/null --no-resolv --port=5353 --bind-interfaces --interface=docker0 \
  --pid-file=/run/other/pid
"""
SHOW_FOREIGN = """
for name in docker0 brqdeadbeef-00 virbr0 vxlan-99999 tapfeedfeed-00 tapcafecafe-0; do
  ip -d address show $name | sed 's/_timer *[0-9.]*//g;s/ tentative *//;s/link *$/link/'; done
for name in qrouter-mine qdhcp-mine qrouter-00000000-0000-4000-8000-000000000000 other; do
  stat -c '%n %i' /run/netns/$name; ip -n $name -d address; done
iptables-save | grep -E 'DOCKER|docker|pileus-user|pil0000|MASQ'
nft list table bridge pil0000; nft list table inet filter
cat /run/other/pid; tr '\\0' ' ' </proc/$(cat /run/other/pid)/cmdline
"""
