"""Leases of ports that are gone: which they are, and the packet that ends them."""

from __future__ import annotations

from pileus.kernel.host import dhcp_release
from pileus.kernel.host.dhcp_release import Lease
from pileus.services.network.drivers.dhcp.dnsmasq.leases import left_over

HOSTS = "fa:16:3e:00:00:01,host-1,10.0.0.5\nfa:16:3e:00:00:02,set:port-x,web,10.0.0.6\n"
LEASES = """\
1700000000 fa:16:3e:00:00:01 10.0.0.5 host-1 01:fa:16:3e:00:00:01
1700000000 fa:16:3e:00:00:02 10.0.0.6 web *
1700000000 fa:16:3e:00:00:02 10.0.0.7 web 01:fa:16:3e:00:00:02
1700000000 fa:16:3e:00:00:09 10.0.0.9 gone *
duid 00:01:00:01
1700000000 123456 fd00::5 v6 00:01:02
"""


def test_only_leases_that_no_port_has_are_left_over() -> None:
    assert left_over(LEASES, HOSTS) == [
        Lease("fa:16:3e:00:00:02", "10.0.0.7", "01:fa:16:3e:00:00:02"), Lease("fa:16:3e:00:00:09", "10.0.0.9")
    ]
    assert left_over("", HOSTS) == []


def test_the_packet_is_a_release_in_the_clients_name() -> None:
    packet = dhcp_release.message(Lease("fa:16:3e:00:00:09", "10.0.0.9", "01:02"), "10.0.0.2")
    assert packet[:4] == bytes((1, 1, 6, 0))
    assert packet[12:16] == bytes((10, 0, 0, 9))  # the client's address
    assert packet[28:34] == bytes.fromhex("fa163e000009")
    assert packet[236:] == bytes.fromhex("63825363") + bytes((53, 1, 7, 54, 4, 10, 0, 0, 2, 61, 2, 1, 2, 255))
