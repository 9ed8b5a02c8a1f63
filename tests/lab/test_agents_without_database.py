"""Hosts of agents cannot reach the database and hold nothing that opens it; a server's whole life goes on there."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pileus.lab.hosts import Host
from tests.lab.journey import Journey
from tests.lab.rehearsal import Rehearsal, until

pytestmark = [pytest.mark.guest, pytest.mark.long]

AGENTS = ("network", "compute1", "compute2")
DATABASE = "10.20.0.11/3306"
RULES = (
    "table inet no_database { chain out { type filter hook output priority -300; tcp dport 3306 counter drop; }; };"
)
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    with Rehearsal(tmp_path_factory.mktemp("agents"), "three-nodes") as running:
        yield running


@pytest.fixture(scope="module")
def cut_off(lab: Rehearsal) -> Rehearsal:
    """The lab, after its hosts of agents have lost the way to the database; nothing has tried to go it yet."""
    for host in AGENTS:
        assert reaches_database(lab, host)
        lab.shell(host, "nft", RULES)
        assert not reaches_database(lab, host)
        assert dropped(lab, host) > 0
        lab.shell(host, "nft", f"delete table inet no_database; {RULES}")  # a new count
    return lab


def test_a_server_lives_where_the_database_cannot_be_reached(cut_off: Rehearsal) -> None:
    lab, journey = cut_off, Journey(cut_off)
    journey.prepare()
    journey.boot(*NAMES)
    journey.everything_works(*NAMES)
    for name in NAMES:
        address = journey.addresses[name][1]
        lab.do("server", "stop", name)
        until(lambda name=name: lab.stock("server", "show", name)["status"] == "SHUTOFF", f"the end of {name}")
        assert not lab.pings("internet", address, count=1)
        lab.do("server", "start", name)
        until(lambda name=name: journey.inside(name, "hostname", check=False).strip() == name, f"{name} again")
        booted = journey.inside(name, "cat /proc/sys/kernel/random/boot_id")
        lab.do("server", "reboot", "--hard", name)
        until(lambda name=name, booted=booted: booted != (
            journey.inside(name, "cat /proc/sys/kernel/random/boot_id", check=False) or booted
        ), f"another boot of {name}")  # fmt: skip
        assert lab.pings("internet", address)
    assert lab.verify("controller") == 0
    journey.delete_all()
    assert lab.verify("controller") == 0
    for host in AGENTS:
        assert dropped(lab, host) == 0, f"something on {host} has tried to reach the database"
        assert not reaches_database(lab, host)


def test_no_file_and_no_process_there_knows_the_database(lab: Rehearsal) -> None:
    password = json.loads((lab.labs / lab.name / "engines.json").read_text())["database"]
    key = (lab.disk("controller") / "state" / "cluster.key").read_bytes()
    secrets = (b"mysql+pymysql", password.encode(), key, key.hex().encode())
    # The same look finds them where they are.
    assert {secret for _, secret in knowing(lab, "controller", secrets)} >= {b"mysql+pymysql", password.encode(), key}
    for host in AGENTS:
        assert list(knowing(lab, host, secrets)) == []


def reaches_database(lab: Rehearsal, host: str) -> bool:
    """Whether a connection from a host is accepted."""
    said = lab.command("shell", host, "--", "timeout", "4", "bash", "-c", f"</dev/tcp/{DATABASE}", check=False)
    return said.returncode == 0


def dropped(lab: Rehearsal, host: str) -> int:
    """How many packets to the database a host was not let send since the rule is there."""
    found = json.loads(lab.shell(host, "nft", "--json", "list", "table", "inet", "no_database"))["nftables"]
    (rule,) = (entry["rule"]["expr"] for entry in found if "rule" in entry)
    return next(part["counter"]["packets"] for part in rule if "counter" in part)


def knowing(lab: Rehearsal, host: str, secrets: Iterable[bytes]) -> Iterator[tuple[Path, bytes]]:
    """Each file on a host's disk, and each of its processes' environments and command lines, that has a secret."""
    processes = Host(lab.labs / lab.name, host).processes()
    assert processes
    parts = (Path(f"/proc/{pid}/{part}") for pid in processes for part in ("environ", "cmdline"))
    files = [path for path in lab.disk(host).rglob("*") if path.is_file() and not path.is_symlink()]
    assert lab.disk(host) / "config" / "pileus.toml" in files
    for path in (*files, *parts):
        for secret in secrets:
            if _holds(path, secret):
                yield path, secret


def _holds(path: Path, secret: bytes) -> bool:
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:  # nothing, or a file of /proc
                return secret in file.read()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(secret) >= 0
    except (FileNotFoundError, ProcessLookupError):
        return False
