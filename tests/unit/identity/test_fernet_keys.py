"""The key repository: layout, rotation, being killed half-way."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from pileus.services.identity.drivers.tokens.fernet import FernetSealer, KeyRepository
from pileus.services.identity.drivers.tokens.interface import InvalidToken


def repository(tmp_path: Path, active: int = 4) -> KeyRepository:
    keys = KeyRepository(tmp_path / "keys", max_active_keys=active)
    keys.set_up()
    return keys


def test_set_up_makes_staged_and_primary_once(tmp_path: Path) -> None:
    keys = repository(tmp_path)
    assert keys.numbers() == [0, 1]
    before = {number: (keys.directory / str(number)).read_bytes() for number in (0, 1)}
    keys.set_up()
    assert before == {number: (keys.directory / str(number)).read_bytes() for number in (0, 1)}
    assert oct(keys.directory.stat().st_mode)[-3:] == "700"


def test_rotation_promotes_the_staged_key(tmp_path: Path) -> None:
    keys = repository(tmp_path)
    staged = (keys.directory / "0").read_bytes()
    keys.rotate()
    assert keys.numbers() == [0, 1, 2]
    assert (keys.directory / "2").read_bytes() == staged != (keys.directory / "0").read_bytes()
    for _ in range(4):
        keys.rotate()
    assert keys.numbers() == [0, 4, 5, 6]


def test_a_token_lives_through_rotations_of_another_process(tmp_path: Path) -> None:
    here, there = repository(tmp_path), repository(tmp_path)
    sealer, opener = FernetSealer(here), FernetSealer(there)
    token = sealer.seal(b"content")
    here.rotate()
    assert opener.unseal(token) == opener.unseal(sealer.seal(b"content")) == b"content"
    here.rotate()
    assert opener.unseal(token) == b"content"
    here.rotate()
    with pytest.raises(InvalidToken):
        opener.unseal(token)


def test_a_token_sealed_with_the_staged_key_is_known(tmp_path: Path) -> None:
    keys = repository(tmp_path)
    early = Fernet((keys.directory / "0").read_bytes()).encrypt(b"from a process that rotated first")
    assert FernetSealer(keys).unseal(early.decode().rstrip("=")) == b"from a process that rotated first"


def test_killed_while_rotating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = repository(tmp_path)
    token = FernetSealer(keys).seal(b"x")
    real = Path.replace
    for survive in (0, 1):
        done = []

        def replace(self: Path, target: Path, survive: int = survive, done: list[int] = done) -> Path:
            if len(done) == survive:
                raise InterruptedError
            done.append(1)
            return real(self, target)

        monkeypatch.setattr(Path, "replace", replace)
        with pytest.raises(InterruptedError):
            keys.rotate()
        monkeypatch.setattr(Path, "replace", real)
        again = KeyRepository(keys.directory, max_active_keys=4)
        again.set_up()
        assert FernetSealer(again).unseal(token) == b"x"
        assert FernetSealer(again).unseal(FernetSealer(again).seal(b"y")) == b"y"


def test_padding_and_length(tmp_path: Path) -> None:
    sealer = FernetSealer(repository(tmp_path))
    token = sealer.seal(b"content")
    assert "=" not in token
    for odd in ("", "é", "x" * 5_000, token[:-1], token + "A"):
        with pytest.raises(InvalidToken):
            sealer.unseal(odd)
