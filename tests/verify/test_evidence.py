"""What is read on a host can be sent: each part is plain data that comes back the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pileus.verify.evidence.dhcp import DhcpEntry, DhcpRecord, host_entry, lease_entry
from pileus.verify.evidence.disks import DiskRecords, InstanceRecord, ObjectRecord
from pileus.verify.evidence.guests import GuestRecord
from pileus.verify.evidence.kernel import KernelRecords, LinkRecord, NamespaceRecord, RuleRecords
from pileus.verify.evidence.secrecy import ExposedRecord, LeakRecord

ENTRY = DhcpEntry("fa:16:3e:00:00:01", "10.0.0.5")
PARTS: tuple[tuple[Any, Any], ...] = (
    (dict[str, DhcpRecord], {"n": DhcpRecord("n", 7, frozenset({ENTRY}), frozenset())}),
    (DiskRecords, DiskRecords({"s": InstanceRecord("s", {"disk": 1}, "prepared", "b")}, frozenset({"b"}))),
    (dict[str, ObjectRecord], {"k": ObjectRecord("k", 3, True)}),
    (dict[str, GuestRecord], {"s": GuestRecord("s", "pileus-s", True)}),
    (tuple[LeakRecord, ...], (LeakRecord("/log", "token", 2),)),
    (tuple[ExposedRecord, ...], (ExposedRecord("/db", "a database", 0o644),)),
    (
        KernelRecords,
        KernelRecords(
            {"tap0": LinkRecord(name="tap0", kind="tun", master=None, is_ours=False, server="s")},
            {"qdhcp-n": NamespaceRecord("qdhcp-n", True, frozenset({"lo"}), {"ipv4": 1})},
            RuleRecords({"ipv4": {"c": 2}}, frozenset({"ipv4"}), frozenset({"tap0"}), frozenset({"ab_cd"})),
        ),
    ),
)


@pytest.mark.parametrize(("kind", "value"), PARTS, ids=lambda part: type(part).__name__)
def test_it_survives_the_wire(kind: Any, value: Any) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=kind) == value


def test_lines_of_dnsmasq() -> None:
    assert host_entry("fa:16:3e:00:00:01,set:port-1,web,10.0.0.5") == ENTRY
    assert host_entry("fa:16:3e:00:00:01,web,[fd00::5]") is None
    assert lease_entry("1700000000 fa:16:3e:00:00:01 10.0.0.5 web *") == ENTRY
    assert lease_entry("1700000000 123456 fd00::5 web 00:01") is None
    assert lease_entry("duid 00:01") is None
