"""Token keys as a cloud's processes live with them: taken over from files, rotated under another process."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from cloud import Cloud
from pileus.kernel.config import ConfigError
from pileus.kernel.process import Runtime
from pileus.services.identity.api.auth.session import Tokens
from pileus.services.identity.db.token_keys import TOKEN_KEYS
from pileus.services.identity.logic import token_payload
from pileus.services.identity.tasks import token_keys
from pileus.services.identity.tasks.token_keys import TokenKeys

START_S = 120
SERVICES = ("identity",)


def one(state_dir: Path, **more: Any) -> Cloud:
    return Cloud(state_dir, services=SERVICES, **more)


def runtime(cloud: Cloud) -> Runtime[Any]:
    assert cloud.node is not None
    return cloud.node.runtimes["identity"]


def keys_of(cloud: Cloud) -> TokenKeys:
    return runtime(cloud).get(TokenKeys)


def is_valid(cloud: Cloud, token: str) -> bool:
    return cloud.request("GET", "/identity/v3/auth/projects", token=token).status_code == 200


def test_keys_in_files_are_taken_over_with_their_tokens_and_removed(tmp_path: Path) -> None:
    with one(tmp_path) as cloud:
        assert not (tmp_path / "identity" / "keys").exists()
        rt = runtime(cloud)
        payload = cloud.run(rt.get(Tokens).open(cloud.admin_token()))
        cloud.run(rt.db.write(lambda tx: tx.execute(TOKEN_KEYS.delete()) and None))
    old, primary, staged = (Fernet.generate_key() for _ in range(3))
    directory = tmp_path / "identity" / "keys"
    directory.mkdir(mode=0o700)
    for number, key in enumerate((staged, old, primary)):
        (directory / str(number)).write_bytes(key)
    a_day_ago = time.time() - 86_500
    os.utime(directory / "2", (a_day_ago, a_day_ago))
    tokens = [Fernet(key).encrypt(token_payload.pack(payload)).rstrip(b"=").decode() for key in (old, primary, staged)]
    with one(tmp_path) as cloud:
        assert all(is_valid(cloud, token) for token in tokens)
        assert not directory.exists()
        assert Fernet(primary).decrypt(cloud.admin_token().encode() + b"==")
        assert not cloud.run(keys_of(cloud).rotate_when_due()), "others may not know the staged key yet"
        assert cloud.run(keys_of(cloud).rotate(primary_age_s=86_400)), "the primary is a day old, as its file was"
        assert Fernet(staged).decrypt(cloud.admin_token().encode() + b"==")


def test_a_controller_with_another_key_stops_before_it_changes_anything(tmp_path: Path) -> None:
    with one(tmp_path) as cloud:
        password = cloud.admin_password
    (tmp_path / "cluster.key").rename(tmp_path / "kept")
    with pytest.raises(ConfigError, match="another cluster key"), one(tmp_path):
        pass
    (tmp_path / "kept").replace(tmp_path / "cluster.key")
    with one(tmp_path) as cloud:
        assert cloud.admin_password == password
        assert cloud.admin_token()


def _serve_too(state_dir: Path, tables: dict[str, Any], pipe: Connection) -> None:
    """A second process; it never reads its keys by itself, only at its start and because of a token."""
    token_keys.READ_EVERY_S = 3_600.0
    with one(state_dir, tables=tables) as cloud:
        pipe.send(cloud.port)
        while (asked := pipe.recv()) != "stop":
            pipe.send(is_valid(cloud, asked) if asked != "log in" else cloud.admin_token())


@pytest.fixture
def both(mariadb: Any, tmp_path: Path) -> Iterator[tuple[Cloud, Connection]]:
    """Two controllers with directories of their own: the key and the database are all that they share."""
    tables = {"database": {"identity": mariadb.url("two_identities")}}
    here, there = tmp_path / "here", tmp_path / "there"
    with one(here, tables=tables) as cloud:
        there.mkdir()
        (there / "cluster.key").write_bytes((here / "cluster.key").read_bytes())
        mine, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_serve_too, args=(there, tables, theirs))
        process.start()
        try:
            assert mine.poll(START_S)
            mine.recv()
            yield cloud, mine
            mine.send("stop")
            process.join(START_S)
            assert process.exitcode == 0
        finally:
            process.kill()
            process.join(START_S)


def test_two_processes_know_each_others_tokens_through_rotations(both: tuple[Cloud, Connection]) -> None:
    cloud, other = both
    first = cloud.admin_token()
    assert ask(other, first)
    made_there = ask(other, "log in")
    assert is_valid(cloud, made_there)
    assert cloud.run(keys_of(cloud).rotate())
    assert ask(other, cloud.admin_token()), "it has the new primary since it was staged"
    time.sleep(token_keys.LOOK_AGAIN_S)
    assert cloud.run(keys_of(cloud).rotate())
    assert ask(other, cloud.admin_token()), "a key that it has never read: it looks again"
    assert ask(other, first)
    assert is_valid(cloud, ask(other, "log in"))


def test_tokens_that_anybody_can_make_up_do_not_load_the_database(both: tuple[Cloud, Connection]) -> None:
    cloud, _other = both
    made_up = [Fernet(Fernet.generate_key()).encrypt(b"x").decode() for _ in range(30)]
    reads = 0
    keys = keys_of(cloud)
    real = keys.read

    async def counted() -> bool:
        nonlocal reads
        reads += 1
        return await real()

    keys.read = counted  # type: ignore[method-assign]
    begun = time.monotonic()
    assert not any(is_valid(cloud, token) for token in made_up)
    assert reads <= 1 + (time.monotonic() - begun) / token_keys.LOOK_AGAIN_S


def ask(other: Connection, what: str) -> Any:
    other.send(what)
    assert other.poll(START_S)
    return other.recv()
