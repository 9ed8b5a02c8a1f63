"""The agent's journal after the worst: empty, torn and strange files."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import pytest

from pileus.services.compute.rpc import FlavorFacts, ServerSpec
from pileus.services.compute.worker.journal import TOMBSTONE_S, Journal, Record
from pileus.services.compute.worker.paths import AgentPaths

WHOLE, BROKEN, GONE, LONG_GONE = (str(uuid.UUID(int=number)) for number in range(1, 5))


@pytest.fixture
def paths(tmp_path: Path) -> AgentPaths:
    paths = AgentPaths(tmp_path)
    paths.make()
    for server in (WHOLE, BROKEN):
        paths.server(server).directory.mkdir()
    Journal(paths).save(Record(
        generation=3, phase="prepared", desired="running",
        spec=ServerSpec(WHOLE, "name", "project", FlavorFacts(vcpus=1, ram_mib=64)),
    ))  # fmt: skip
    return paths


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"\xff\xfe", b'{"generation": "three"}'])
def test_a_journal_that_cannot_be_read_hides_no_other(paths: AgentPaths, content: bytes) -> None:
    paths.server(BROKEN).journal.write_bytes(content)
    (paths.instances / "a file").write_bytes(b"")
    journal = Journal(paths)
    journal.load()
    assert [(record.server_id, record.generation) for record in journal.all()] == [(WHOLE, 3)]
    journal.mark_destroyed(BROKEN, 5)
    assert not paths.server(BROKEN).journal.exists()


@pytest.mark.parametrize("content", [b"", b"\xff", b"many", b"-"])
def test_a_tombstone_that_cannot_be_read_hides_no_other(paths: AgentPaths, content: bytes) -> None:
    Journal(paths).mark_destroyed(GONE, 7)
    (paths.destroyed / BROKEN).write_bytes(content)
    (paths.destroyed / f"{BROKEN}.new").write_bytes(b"7")
    journal = Journal(paths)
    journal.load()
    assert (journal.destroyed_at(GONE), journal.destroyed_at(BROKEN)) == (7, None)
    assert not (paths.destroyed / f"{BROKEN}.new").exists()


def test_tombstones_are_kept_for_as_long_as_messages_may_be_late(paths: AgentPaths) -> None:
    Journal(paths).mark_destroyed(LONG_GONE, 1)
    old = time.time() - TOMBSTONE_S - 1
    os.utime(paths.destroyed / LONG_GONE, (old, old))
    journal = Journal(paths)
    journal.load()
    assert journal.destroyed_at(LONG_GONE) is None
    assert not (paths.destroyed / LONG_GONE).exists()
