"""What is read on a host can be sent: each part is plain data that comes back the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.kernel.config import NodeConfig
from pileus.kernel.process import secrets
from pileus.verify.evidence.dhcp import DhcpEntry, DhcpRecord, host_entry, lease_entry
from pileus.verify.evidence.disks import DiskRecords, InstanceRecord, ObjectRecord
from pileus.verify.evidence.guests import GuestRecord
from pileus.verify.evidence.kernel import KernelRecords, LinkRecord, NamespaceRecord, RuleRecords
from pileus.verify.evidence.secrecy import ExposedRecord, LeakRecord, read_exposed, read_leaks
from pileus.verify.installation import Installation

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
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind) == value


def test_lines_of_dnsmasq() -> None:
    assert host_entry("fa:16:3e:00:00:01,set:port-1,web,10.0.0.5") == ENTRY
    assert host_entry("fa:16:3e:00:00:01,web,[fd00::5]") is None
    assert lease_entry("1700000000 fa:16:3e:00:00:01 10.0.0.5 web *") == ENTRY
    assert lease_entry("1700000000 123456 fd00::5 web 00:01") is None
    assert lease_entry("duid 00:01") is None


def test_secrets_that_stand_in_no_file_are_known_to_whoever_looks_for_them(tmp_path: Path) -> None:
    """They are derived from the cluster key; a log that holds one is found all the same, and so is the key."""
    known = [secrets.secret(tmp_path, name) for name in ("admin-password", "service-password-compute", "token-keys")]
    log = tmp_path / "log" / "pileus.log"
    log.parent.mkdir(mode=0o700)
    log.write_bytes(b"\n".join([b"said", *(secret.encode() for secret in known), secrets.cluster_key(tmp_path), b""]))
    installation = Installation(NodeConfig(state_dir=str(tmp_path)), {"network": {"l2_driver": "fake"}})
    assert {leak.secret for leak in read_leaks(installation)} == {
        "secret admin-password", "secret service-password-compute", "secret token-keys", "cluster key"
    }  # fmt: skip
    tmp_path.chmod(0o711)  # as a cloud's is
    (tmp_path / "cluster.key").chmod(0o644)
    assert [record.content for record in read_exposed(installation)] == ["the cloud's key"]
