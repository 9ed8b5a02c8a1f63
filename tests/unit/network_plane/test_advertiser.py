"""Router advertisements as bytes (RFC 4861, section 4.2)."""

from __future__ import annotations

import pytest

from pileus.services.network.drivers.l3.netns.advertiser import advertisement
from pileus.services.network.rpc import FixedIp, RouterInterface


@pytest.mark.parametrize(
    ("mode", "message_flags", "prefix_flags"),
    [("slaac", 0x00, 0xC0), ("dhcpv6-stateless", 0x40, 0xC0), ("dhcpv6-stateful", 0xC0, 0x80)],
)
def test_flags_follow_the_mode(mode: str, message_flags: int, prefix_flags: int) -> None:
    message = advertisement(
        RouterInterface(
            port_id="p", network_id="n", mac_address="fa:16:3e:00:00:01", mtu=1450, ra_mode=mode,  # type: ignore[arg-type]
            fixed_ips=(FixedIp("10.0.0.1", 24), FixedIp("2001:db8:5::1", 64)),
        )
    )  # fmt: skip
    assert message[0] == 134
    assert message[5] == message_flags
    assert message[16:24] == bytes.fromhex("0101fa163e000001")
    assert message[24:32] == bytes.fromhex("05010000") + (1450).to_bytes(4, "big")
    prefix = message[32:]
    assert len(prefix) == 32  # the IPv4 address is not announced
    assert (prefix[0], prefix[2], prefix[3]) == (3, 64, prefix_flags)
    assert prefix[16:] == bytes.fromhex("20010db8000500000000000000000000")
