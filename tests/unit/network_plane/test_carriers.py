"""Which devices a network gets, and that what is right is left alone."""

from __future__ import annotations

import pytest

from pileus.kernel.host.links import Address, FdbRecord, Link
from pileus.services.network.drivers.l2.linuxbridge.carriers import (
    FLOOD_MAC,
    CarrierError,
    bridge_lines,
    fdb_lines,
    pick_zones,
    plan_carrier,
    uplink_lines,
)
from pileus.services.network.drivers.ownership import Ownership, noted
from pileus.services.network.rpc import FdbEntry, HostNetwork

OURS = Ownership("test")
ID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


def link(name: str, **changes: object) -> Link:
    values: dict[str, object] = {
        "index": 1, "name": name, "kind": "", "mac_address": "", "mtu": 1500, "is_up": True, "master": None,
        "alias": "", "info": {},
    }  # fmt: skip
    return Link(**(values | changes))  # type: ignore[arg-type]


def vxlan(**changes: object) -> HostNetwork:
    values: dict[str, object] = {"id": ID, "network_type": "vxlan", "segmentation_id": 5, "mtu": 1450}
    return HostNetwork(**(values | changes))  # type: ignore[arg-type]


def test_what_is_right_needs_no_change() -> None:
    carrier = plan_carrier(vxlan(), {}, {}, ())
    info = {"id": 5, "local": "192.0.2.1", "port": 4789}
    found = {
        "brqaaaaaaaa-bb": link("brqaaaaaaaa-bb", kind="bridge", alias="pileus:test zone=3",
                               info={"forward_delay": 0, "mcast_snooping": 0}),
        "vxlan-5": link("vxlan-5", kind="vxlan", alias="pileus:test", mtu=1450, master="brqaaaaaaaa-bb", info=info),
    }  # fmt: skip
    assert bridge_lines(carrier, 3, found, OURS) == []
    assert uplink_lines(carrier, found, OURS, "192.0.2.1", 4789) == []
    moved = uplink_lines(carrier, found, OURS, "192.0.2.7", 4789)
    assert moved[0] == "link delete dev vxlan-5"


def test_foreign_devices_are_in_the_way_not_ours() -> None:
    carrier = plan_carrier(vxlan(), {}, {}, ())
    with pytest.raises(CarrierError, match="foreign"):
        bridge_lines(carrier, 1, {carrier.bridge: link(carrier.bridge, kind="bridge", alias="pileus:other")}, OURS)
    with pytest.raises(CarrierError, match="foreign"):
        uplink_lines(carrier, {"vxlan-5": link("vxlan-5", kind="vxlan", alias="someone")}, OURS, "192.0.2.1", 4789)
    with pytest.raises(CarrierError, match="no tunnel address"):
        uplink_lines(carrier, {}, OURS, None, 4789)


def test_flat_networks_choose_by_what_the_mapped_device_is() -> None:
    flat = HostNetwork(id=ID, network_type="flat", physical_network="public")
    mapping = {"public": "eth1"}
    assert plan_carrier(flat, mapping, {"eth1": link("eth1", kind="bridge")}, ()).uplink_kind == "veth"
    assert plan_carrier(flat, mapping, {"eth1": link("eth1")}, ()).uplink == "eth1"
    with pytest.raises(CarrierError, match="IP addresses"):
        plan_carrier(flat, mapping, {"eth1": link("eth1")}, (Address("eth1", "192.0.2.5", 24),))
    with pytest.raises(CarrierError, match="does not exist"):
        plan_carrier(flat, mapping, {}, ())
    with pytest.raises(CarrierError, match="belongs to bond0"):
        plan_carrier(flat, mapping, {"eth1": link("eth1", master="bond0")}, ())
    with pytest.raises(CarrierError, match="segmentation id"):
        plan_carrier(vxlan(segmentation_id=2**24), {}, {}, ())


def test_zones_are_kept_for_life_and_never_shared() -> None:
    one, two = plan_carrier(vxlan(), {}, {}, ()), plan_carrier(vxlan(id="ffffffff-0000", segmentation_id=6), {}, {}, ())
    found = {
        two.bridge: link(two.bridge, kind="bridge", alias="pileus:test zone=1"),
        "brqother": link("brqother", kind="bridge", alias="pileus:elsewhere zone=2"),
    }
    assert pick_zones((one, two), found) == {one.bridge: 3, two.bridge: 1}
    assert noted("pileus:test zone=12", "zone") == 12
    assert noted("zone=12", "zone") is None


def test_forwarding_entries_follow_peers_and_known_macs() -> None:
    network = vxlan(peers=("192.0.2.2",), fdb=(FdbEntry("fa:16:3e:00:00:09", "192.0.2.2"),))
    carrier = plan_carrier(network, {}, {}, ())
    right = {FdbRecord(FLOOD_MAC, "192.0.2.2"), FdbRecord("fa:16:3e:00:00:09", "192.0.2.2")}
    assert fdb_lines(carrier, frozenset(right)) == []
    assert fdb_lines(carrier, frozenset({FdbRecord(FLOOD_MAC, "192.0.2.3")})) == [
        f"fdb delete {FLOOD_MAC} dev vxlan-5 dst 192.0.2.3",
        f"fdb append {FLOOD_MAC} dev vxlan-5 dst 192.0.2.2 self permanent",
        "fdb replace fa:16:3e:00:00:09 dev vxlan-5 dst 192.0.2.2 self permanent",
    ]


def test_cloud_names_that_could_harm_are_refused() -> None:
    for name in ("", "x y", 'a"b', "Ä", "a" * 33):
        with pytest.raises(ValueError, match="cloud name"):
            Ownership(name)
