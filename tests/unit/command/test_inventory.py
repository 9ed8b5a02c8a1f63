"""`pileus inventory`: what is wrong with it is said, all of it; the shipped ones have nothing wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pileus.cli import inventory, processes
from pileus.cli.main import main

EXAMPLES = tuple(inventory.examples())


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_shipped_ones_are_in_order(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inventory", "check", name]) == 0
    assert capsys.readouterr().out.endswith(" 0 problems\n")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_hosts_table_is_what_a_host_reads(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    hosts, _ = inventory.read(name)
    for host, table in hosts.items():
        assert main(["inventory", "show", name, host]) == 0
        shown = tomllib.loads(capsys.readouterr().out)
        assert processes.decoded(shown["processes"], "") == table


def test_the_shipped_ones_are_those_that_the_documentation_promises() -> None:
    sizes = {name: len(inventory.read(name)[0]) for name in EXAMPLES}
    assert sizes == {"all-in-one": 1, "three-nodes": 3, "three-controllers": 8}


BROKEN = """
[groups.a]
hosts = ["h1", "h2", "-x"]
[groups.a.processes]
api = {roles = ["identity-api"]}
other = {roles = ["compute-api", "nonsense"], port = 8905}
third = {roles = ["image-api"], port = 8905}
upkeep = {roles = ["identity-upkeep"]}
[groups.b]
hosts = ["h1"]
[groups.b.processes]
api = {roles = ["compute-agent"]}
"""


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "hosts.toml"
    file.write_text(BROKEN)
    assert main(["inventory", "check", str(file)]) == 1
    shown = capsys.readouterr().out
    for problem in (
        "h1: two of its groups name a process api",
        "h2: api: has an API (identity-api) and no port",
        "h2: other: there is no role 'nonsense'",
        "h2: other, third: have the same port 8905",
        "'-x' is no name of a host",
        "no host runs compute-conductor: ",
        "h1, h2, -x: all run identity-upkeep, of which a cloud has one",
        "h1: compute-agent needs network-l2 on the same host",
    ):
        assert f"wrong     {problem}" in shown, shown
    assert main(["inventory", "show", str(file), "h1"]) == 1
    assert "see `pileus inventory check`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("x = 1", "unknown field `x`"),
        ("[groups.a]\nhosts = 'h1'\nprocesses = {}", "Expected `array`"),
        ("[groups.a]\nhosts = ['h1']\nprocesses = {}", "group a names no process"),
        ("[", "hosts.toml: "),
    ],
)
def test_what_is_no_inventory_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, says: str
) -> None:
    file = tmp_path / "hosts.toml"
    file.write_text(content)
    assert main(["inventory", "check", str(file)]) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("check", "/no/such/file"), 1, "there is no file /no/such/file, and no example of that name (all-in-one, "),
        (("show", "three-nodes", "nowhere"), 1, "has no host 'nowhere'; there are compute, controller, network"),
        (("show", "three-nodes"), 2, "inventory show FILE HOST"),
    ],
)
def test_what_does_not_exist_is_said(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, says: str
) -> None:
    assert main(["inventory", *words]) == status
    assert says in capsys.readouterr().err


def test_the_examples_are_listed_with_a_sentence_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inventory", "examples"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines.keys() == set(EXAMPLES)
    assert all(sentence.endswith(".") for sentence in lines.values())
