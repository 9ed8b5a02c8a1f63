"""Token keys in the database: set up once, rotated as a whole, known to every process before they are used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select

from pileus.kernel.db import Database, migrations
from pileus.services.identity.db import token_keys
from pileus.services.identity.db.token_keys import TOKEN_KEYS, TokenKey
from pileus.services.identity.drivers.tokens.fernet import FernetSealer, KeyRing, WrongWrapping, files
from pileus.services.identity.drivers.tokens.interface import InvalidToken

SECRET = "a secret of the cloud"
KEEP = 4


@pytest.fixture(params=["sqlite", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "mariadb":
        made = Database(request.getfixturevalue("mariadb").url("token_keys"), name="identity")
    else:
        made = Database.sqlite(tmp_path / "identity.sqlite", name="identity")
    migrations.upgrade(made, "pileus.services.identity.db")
    yield made
    made.close()


class Process:
    """What one process knows."""

    def __init__(self, database: Database, secret: str = SECRET) -> None:
        self.database = database
        self.ring = KeyRing(secret)
        self.sealer = FernetSealer(self.ring)

    def set_up(self) -> bool:
        done = self.database.run(token_keys.set_up, [self.ring.new_key()], self.ring.new_key(), None)
        self.read()
        return done

    def read(self) -> bool:
        return self.ring.load(key.wrapped for key in self.kept())

    def kept(self) -> list[TokenKey]:
        return asyncio.run(self.database.read(token_keys.in_order))

    def rotate(self, primary_age_s: float = 0.0, staged_age_s: float = 0.0) -> bool:
        new = self.ring.new_key()
        return self.database.run(
            token_keys.rotate, new, primary_age_s=primary_age_s, staged_age_s=staged_age_s, keep=KEEP
        )


def process(database: Database) -> Process:
    made = Process(database)
    made.set_up()
    return made


def test_the_first_process_makes_a_primary_and_a_staged_key(database: Database) -> None:
    here, there = Process(database), Process(database)
    assert here.set_up()
    assert not there.set_up()
    assert [bool(key.primary_since) for key in here.kept()] == [True, False]
    assert there.sealer.unseal(here.sealer.seal(b"content")) == b"content"


def test_what_is_in_the_database_opens_no_token(database: Database) -> None:
    here = process(database)
    token = here.sealer.seal(b"content")
    for key in here.kept():
        with pytest.raises(ValueError):  # noqa: PT011
            Fernet(key.wrapped.encode()).decrypt(token.encode() + b"==")
    with pytest.raises(WrongWrapping):
        Process(database, "a secret of another cloud").read()


def test_a_rotation_promotes_the_key_that_everybody_has(database: Database) -> None:
    here, there = process(database), process(database)
    assert here.rotate()
    here.read()
    token = here.sealer.seal(b"content")
    assert there.sealer.unseal(token) == b"content", "it was staged when the other process read its keys"
    assert there.read()
    assert not there.read()


def test_a_token_lives_until_its_key_is_too_old(database: Database) -> None:
    here = process(database)
    token = here.sealer.seal(b"content")
    for _ in range(KEEP - 2):
        here.rotate()
        here.read()
        assert here.sealer.unseal(token) == b"content"
    here.rotate()
    here.read()
    with pytest.raises(InvalidToken):
        here.sealer.unseal(token)
    assert len(here.kept()) == KEEP


def test_nobody_rotates_too_early(database: Database) -> None:
    here = process(database)
    before = here.kept()
    assert not here.rotate(primary_age_s=60)
    assert not here.rotate(staged_age_s=60), "others may not have read the staged key yet"
    assert here.kept() == before


def test_processes_that_find_it_due_together_rotate_once(database: Database) -> None:
    here = process(database)
    day_old = datetime.now(UTC) - timedelta(days=1)
    database.run(lambda tx: tx.execute(TOKEN_KEYS.update().values(made_at=day_old)))
    primary = TOKEN_KEYS.update().where(TOKEN_KEYS.c.number == 1)
    database.run(lambda tx: tx.execute(primary.values(primary_since=day_old)))
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: here.rotate(3_600, 60), range(4))) == [False, False, False, True]
    assert len(database.run(lambda tx: tx.all(select(TOKEN_KEYS.c.number)))) == 3


def test_padding_and_length(database: Database) -> None:
    sealer = process(database).sealer
    token = sealer.seal(b"content")
    assert "=" not in token
    for odd in ("", "é", "x" * 5_000, token[:-1], token + "A"):
        with pytest.raises(InvalidToken):
            sealer.unseal(odd)


def test_key_files_are_read_in_their_order_and_removed(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    assert files.read(directory) is None
    directory.mkdir()
    assert files.read(directory) is None
    for name in ("0", "10", "9", "10.new"):
        (directory / name).write_bytes(name.encode() + b"\n")
    found = files.read(directory)
    assert found is not None
    assert (found.active, found.staged) == ((b"9", b"10"), b"0")
    assert files.remove(directory)
    assert not files.remove(directory)
    assert not directory.exists()
