"""A cloud's secrets: one key for all, older names win, and hosts of agents know only what they were given."""

from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from pileus.kernel.config import ConfigError
from pileus.kernel.process import secrets

AT_ONCE = 6


def write(state_dir: Path, **known: str) -> None:
    (state_dir / secrets.FILE).write_text(json.dumps(known))


def test_the_first_start_makes_a_key_for_its_owner_and_no_list(tmp_path: Path) -> None:
    first = secrets.secret(tmp_path, "admin-password")
    key = tmp_path / secrets.KEY_FILE
    assert len(key.read_bytes()) == 32
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not (tmp_path / secrets.FILE).exists()
    assert secrets.secret(tmp_path, "admin-password") == first
    assert len(first) == 43


def test_whoever_holds_the_key_knows_every_secret(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    (there / secrets.KEY_FILE).write_bytes(secrets.cluster_key(here))
    names = ["admin-password", "service-password-compute", "token-keys", ""]
    assert [secrets.secret(here, name) for name in names] == [secrets.secret(there, name) for name in names]
    assert len({secrets.secret(here, name) for name in names}) == len(names)


def test_a_derived_secret_stays_what_it_is(tmp_path: Path) -> None:
    """Another way of deriving would lock every cloud out of itself."""
    (tmp_path / secrets.KEY_FILE).write_bytes(bytes(range(32)))
    assert secrets.secret(tmp_path, "admin-password") == "MWaUEx1e3ZQ4gr_K5ZAYEBmY5lVMVlbBzztvc3zBt9M"


def test_a_cloud_older_than_the_key_keeps_its_names(tmp_path: Path) -> None:
    write(tmp_path, **{"admin-password": "old-admin", "service-password-compute": "old-compute"})
    assert secrets.secret(tmp_path, "admin-password") == "old-admin"
    assert not (tmp_path / secrets.KEY_FILE).exists()
    new = secrets.secret(tmp_path, "token-keys")
    assert (tmp_path / secrets.KEY_FILE).exists()
    assert secrets.secret(tmp_path, "token-keys") == new
    assert secrets.secret(tmp_path, "service-password-compute") == "old-compute"
    assert json.loads((tmp_path / secrets.FILE).read_text()).keys() == {"admin-password", "service-password-compute"}


def test_a_host_of_agents_makes_no_key_and_says_what_it_lacks(tmp_path: Path) -> None:
    write(tmp_path, **{"service-password-compute": "given"})
    assert secrets.secret(tmp_path, "service-password-compute") == "given"
    with pytest.raises(ConfigError, match=r"'service-password-image'.*no cluster\.key"):
        secrets.secret(tmp_path, "service-password-image")
    assert not (tmp_path / secrets.KEY_FILE).exists()
    assert not secrets.is_controller(tmp_path)


def test_a_host_that_needs_no_secret_makes_no_key_either(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ConfigError, match="made for agents only"):
        secrets.secret(tmp_path, "admin-password")
    assert not (tmp_path / secrets.KEY_FILE).exists()


@pytest.mark.parametrize(("name", "content"), [(secrets.KEY_FILE, b"short"), (secrets.FILE, b"{half")])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name} is damaged"):
        secrets.secret(tmp_path, "admin-password")
    assert (tmp_path / name).read_bytes() == content


def _ask(state_dir: Path) -> str:
    return secrets.secret(state_dir, "admin-password")


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(AT_ONCE) as pool:
        assert len(set(pool.map(_ask, [tmp_path] * AT_ONCE))) == 1


def test_looking_makes_nothing(tmp_path: Path) -> None:
    assert secrets.known(tmp_path, ["admin-password"]) == {}
    assert not list(tmp_path.iterdir())
    secrets.cluster_key(tmp_path)
    assert secrets.known(tmp_path, ["admin-password"]) == {
        "admin-password": secrets.secret(tmp_path, "admin-password")
    }
