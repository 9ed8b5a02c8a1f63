"""Hosts join over real TLS: a controller with its port and state directory, new hosts with theirs, the command."""

from __future__ import annotations

import io
import json
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from cryptography import x509

from cloud import Cloud, free_port
from pileus.cli import main as command
from pileus.cli.joining import controller
from pileus.cli.joining.controller import NotJoined
from pileus.kernel.config.writer import to_toml
from pileus.services.join import rpc
from pileus.services.join.db.tokens import TOKENS
from pileus.services.join.logic import authority, join_token
from pileus.services.join.logic.authority import Authority
from pileus.services.join.tasks import listen

AGENTS = "agents=compute-agent,network-l2"
BROKER = "amqp://pileus:broker-password@127.0.0.1:5672/"
DATABASES = {
    kind: f"mysql+pymysql://pileus:database-password@127.0.0.1/{kind}" for kind in ("compute", "identity", "network")
}


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def pileus(*words: str, stdin: str = "") -> Done:
    """The operator's command, in this process. What it does not expect is the test's failure."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), patch("sys.stdin", io.StringIO(stdin)):
        try:
            status = command.main([*words])
        except SystemExit as usage:
            status = int(usage.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


class Site:
    """A controller that serves `join-api`, and machines that are to become hosts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.state_dir = directory / "controller"
        # The controller's own process needs no broker for this; its configuration says what hosts are told.
        self.cloud = Cloud(self.state_dir, services=("join",), roles=("join-api",), tables=self.tables("local"))
        self.config = directory / "controller.toml"
        node = {"node": {"host": "test-host", "state_dir": str(self.state_dir)}}
        self.config.write_text(to_toml({**node, **self.tables(BROKER), "database": DATABASES}))

    def tables(self, bus: str) -> dict[str, Any]:
        return {
            "bus": {"url": bus}, "join": {"port": self.port},
            "compute": {"agent": {"hypervisor": "fake", "host_ip": "192.0.2.1"}},
            "network": {"l2_driver": "fake", "tunnel_ip": "192.0.2.1"},
        }

    def token(self, *processes: str, ttl_s: int = 600) -> str:
        words = [word for process in processes or (AGENTS,) for word in ("--process", process)]
        done = self.host("token", *words, "--ttl-s", str(ttl_s))
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1
        return done.stdout.strip()

    def host(self, *words: str) -> Done:
        return pileus("host", *words, "--config", str(self.config))

    def machine(self, name: str) -> Machine:
        return Machine(self.directory / name, name)


class Machine:
    """What is to become a host."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.state_dir = directory / "state"
        self.config = directory / "pileus.toml"
        self.said = ""

    def join(self, token: str, *more: str) -> int:
        words = ["join", "-", "--host", self.name, "--config", str(self.config), "--state-dir", str(self.state_dir)]
        done = pileus(*words, *more, stdin=token + "\n")
        self.said = done.stdout + done.stderr
        return done.returncode

    def files(self) -> set[str]:
        return {str(path.relative_to(self.state_dir)) for path in self.state_dir.rglob("*") if path.is_file()}

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.state_dir / "host" / "host.crt").read_bytes())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    with made.cloud:
        yield made


@pytest.fixture
def machine(site: Site, request: pytest.FixtureRequest) -> Machine:
    return site.machine(f"m{abs(hash(request.node.name)) % 10**9}")


# -- what a host is given --------------------------------------------------------------------------------------------


def test_a_host_of_agents_gets_what_it_needs_and_nothing_that_opens_the_cloud(site: Site, machine: Machine) -> None:
    assert machine.join(site.token()) == 0, machine.said
    assert machine.files() == {
        "secrets.json", "host/host.key", "host/host.crt", "host/authority.crt", "host/membership.json"
    }  # fmt: skip
    node = site.cloud.node
    assert node is not None
    given = json.loads((machine.state_dir / "secrets.json").read_text())
    assert given == {"service-password-compute": node.secret("service-password-compute")}
    tables = tomllib.loads(machine.config.read_text())
    assert tables["node"] == {
        "host": machine.name, "cloud": "pileus", "region": "RegionOne", "state_dir": str(machine.state_dir)
    }  # fmt: skip
    assert tables["processes"] == {"agents": {"roles": ["compute-agent", "network-l2"]}}
    assert tables["network"] == {"l2_driver": "fake", "external_bridges": {}, "tunnel_ip": "127.0.0.1"}
    assert tables["compute"] == {"agent": {"hypervisor": "fake", "host_ip": "127.0.0.1"}}
    assert "database" not in tables
    assert tables["endpoints"].keys() == {"identity", "placement", "image", "network", "compute"}
    paths = [path for path in (*machine.state_dir.rglob("*"), machine.config) if path.is_file()]
    everything = "".join(path.read_text() for path in paths)
    for secret in ("admin-password", "token-keys", "service-password-identity", "host-authority"):
        assert node.secret(secret) not in everything
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_its_certificate_is_for_its_name_and_its_own_key(site: Site, machine: Machine) -> None:
    assert machine.join(site.token()) == 0, machine.said
    directory = machine.state_dir / "host"
    certificate = machine.certificate()
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((directory / "authority.crt").read_bytes()))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [machine.name]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(directory / "host.crt", directory / "host.key")  # refuses what does not belong together


def test_a_controller_gets_the_key_and_the_databases(site: Site, machine: Machine) -> None:
    overriding = site.state_dir / "secrets.json"
    overriding.write_text(json.dumps({"admin-password": "of an older cloud"}))
    try:
        process = "control=compute-conductor,compute-agent"
        assert machine.join(site.token(process, "api=identity-api:8901")) == 0, machine.said
    finally:
        overriding.unlink()
    assert (machine.state_dir / "cluster.key").read_bytes() == (site.state_dir / "cluster.key").read_bytes()
    assert json.loads((machine.state_dir / "secrets.json").read_text()) == {"admin-password": "of an older cloud"}
    tables = tomllib.loads(machine.config.read_text())
    assert tables["node"]["listen"] == "127.0.0.1"
    assert tables["processes"]["api"] == {"roles": ["identity-api"], "port": 8901}


def test_what_the_hosts_own_configuration_says_stays(site: Site, machine: Machine) -> None:
    machine.config.parent.mkdir()
    machine.config.write_text(
        '[node]\nlog_level = "DEBUG"\n[network]\ntunnel_ip = "192.0.2.7"\nexternal_bridges = {x = "192.0.2.9/24"}\n'
    )
    assert machine.join(site.token()) == 0, machine.said
    tables = tomllib.loads(machine.config.read_text())
    assert tables["node"]["log_level"] == "DEBUG"
    assert tables["network"] == {
        "l2_driver": "fake", "tunnel_ip": "192.0.2.7", "external_bridges": {"x": "192.0.2.9/24"}
    }  # fmt: skip


def test_the_list_shows_who_joined(site: Site, machine: Machine) -> None:
    assert machine.join(site.token()) == 0, machine.said
    shown = site.host("list").stdout.splitlines()
    assert any(line.startswith("test-host") and "a first controller" in line for line in shown)
    (mine,) = [line for line in shown if line.startswith(machine.name)]
    assert "from 127.0.0.1" in mine
    assert mine.endswith("agents: compute-agent, network-l2")


# -- what is refused -------------------------------------------------------------------------------------------------


def nothing_is_there(machine: Machine) -> bool:
    return not machine.config.exists() and not {"secrets.json", "cluster.key"} & machine.files()


@pytest.mark.parametrize("token", ["", "hello", "pileus-join-1-", "pileus-join-1-AAAA"])
def test_what_is_no_token(machine: Machine, token: str) -> None:
    assert machine.join(token) == 2
    assert machine.said.count("\n") == 1
    assert "join token" in machine.said
    assert not machine.state_dir.exists()


def test_a_token_with_another_secret_and_one_that_was_never_made(site: Site, machine: Machine) -> None:
    token = join_token.read(site.token())
    for odd in (join_token.new(token.at, token.authority), join_token.JoinToken(
        token.at, token.authority, token.id, join_token.new("h:1", token.authority).secret
    )):  # fmt: skip
        assert machine.join(join_token.write(odd)) == 1
        assert "does not know this join token" in machine.said
    assert nothing_is_there(machine)
    assert machine.join(join_token.write(token)) == 0, "a guess does not use it up"


def test_an_expired_token(site: Site, machine: Machine) -> None:
    token = site.token()
    age(site, token)
    assert machine.join(token) == 1
    assert "has expired" in machine.said
    assert nothing_is_there(machine)


def age(site: Site, token: str) -> None:
    assert site.cloud.node is not None
    ours = TOKENS.c.id == join_token.read(token).id
    past = TOKENS.update().where(ours).values(expires_at=site.cloud.node.clock.now() - timedelta(seconds=1))
    site.cloud.run(site.cloud.node.runtimes["join"].db.write(lambda tx: tx.execute(past) and None))


def test_a_token_is_good_for_one_host(site: Site, machine: Machine) -> None:
    token = site.token()
    assert machine.join(token) == 0, machine.said
    second = site.machine(machine.name + "-too")
    assert second.join(token) == 1
    assert f"was used by host {machine.name} already" in second.said
    assert nothing_is_there(second)
    assert second.join(site.token()) == 0, "what it tried before is no hindrance"


def test_of_hosts_that_use_a_token_at_once_one_is_let_in(site: Site, machine: Machine) -> None:
    token = join_token.read(site.token())
    certificate = controller.authority_of(token)

    def ask(number: int) -> bool:
        name = f"{machine.name}-{number}"
        request = authority.request_for(authority.new_key(), name)
        try:
            controller.join(token, certificate, rpc.Join(token.id, token.secret, name, request))
        except NotJoined:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 1


def test_a_name_that_another_host_has(site: Site, machine: Machine) -> None:
    assert machine.join(site.token()) == 0
    other = site.machine(machine.name + "-again")
    other.name = machine.name
    token = site.token()
    assert other.join(token) == 1
    assert f"has a host {machine.name} already" in other.said
    other.name = "test-host"
    assert other.join(token) == 1, "nor the name of the first controller"
    other.name = machine.name
    assert site.host("remove", machine.name).returncode == 0
    assert other.join(token) == 0, other.said


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "a/../b", "ü"])
def test_a_name_that_is_none(site: Site, machine: Machine, name: str) -> None:
    token = join_token.read(site.token())
    request = authority.request_for(authority.new_key(), "x")
    with pytest.raises(NotJoined, match="a host's name has"):
        controller.join(token, controller.authority_of(token), rpc.Join(token.id, token.secret, name, request))


def test_a_controller_that_is_away(site: Site, machine: Machine) -> None:
    token = join_token.read(site.token())
    gone = join_token.JoinToken(f"127.0.0.1:{free_port()}", token.authority, token.id, token.secret)
    assert machine.join(join_token.write(gone)) == 1
    assert "no controller answers at" in machine.said
    assert not machine.state_dir.exists()


def test_who_answers_is_not_the_cloud_of_the_token_and_learns_nothing(site: Site, machine: Machine) -> None:
    token = join_token.read(site.token())
    with Impostor() as impostor:
        word = join_token.write(join_token.JoinToken(impostor.at, token.authority, token.id, token.secret))
        assert machine.join(word) == 1
        assert "is not the cloud that made this token" in machine.said
        # One who sends the true authority's certificate, which is public, still cannot prove to be of the cloud.
        assert site.cloud.node is not None
        impostor.shows = Authority(site.cloud.node.secret(listen.SECRET), "pileus").certificate
        assert machine.join(word) == 1
        assert "has no certificate of the cloud" in machine.said
        assert token.secret.encode() not in impostor.heard
        assert b"authority" in impostor.heard
    assert nothing_is_there(machine)


class Impostor:
    """Listens with an authority of its own, and shows the certificate that it is told to."""

    def __init__(self) -> None:
        self._own = Authority("another secret", "pileus")
        self.shows = self._own.certificate
        self.heard = b""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.at = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Impostor:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(30)

    def _serve(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:
            file.write(self._own.serve(datetime.now(UTC)))
            file.flush()
            context.load_cert_chain(file.name)
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(plain, server_side=True) as secure:
                    self.heard += secure.recv(65_536)
                    shown = {"type": "authority", "certificate": self.shows.decode()}
                    secure.sendall(json.dumps(shown).encode() + b"\n")
            except OSError:
                continue


def test_a_port_that_is_something_else(site: Site, machine: Machine) -> None:
    token = join_token.read(site.token())
    with socket.create_server(("127.0.0.1", 0)) as plain:
        def serve() -> None:
            with plain.accept()[0] as client:
                client.recv(100)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        at = f"127.0.0.1:{plain.getsockname()[1]}"
        word = join_token.write(join_token.JoinToken(at, token.authority, token.id, token.secret))
        assert machine.join(word) == 1
        thread.join(30)
    assert "does not let hosts join" in machine.said


@pytest.mark.parametrize("name", ["cluster.key", "secrets.json", "db"])
def test_a_directory_of_another_cloud(site: Site, machine: Machine, name: str) -> None:
    machine.state_dir.mkdir(parents=True)
    (machine.state_dir / name).mkdir() if name == "db" else (machine.state_dir / name).write_text("{}")
    token = site.token()
    assert machine.join(token) == 1
    assert f"belongs to another cloud (there is {name})" in machine.said
    assert {path.name for path in machine.state_dir.iterdir()} == {name}


def test_a_host_of_the_cloud_does_not_join_twice(site: Site, machine: Machine) -> None:
    assert machine.join(site.token()) == 0
    assert machine.join(site.token()) == 1
    assert f"is host {machine.name} of that cloud already" in machine.said


# -- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["after the token was used", "in the middle of the files", "after all of it"])
def test_an_interrupted_join_is_run_again(site: Site, machine: Machine, lost: str) -> None:
    token = site.token()
    assert machine.join(token) == 0, machine.said
    key = (machine.state_dir / "host" / "host.key").read_bytes()
    membership = machine.state_dir / "host" / "membership.json"
    if lost != "after all of it":
        membership.write_text(json.dumps(json.loads(membership.read_text()) | {"is_whole": False}))
        machine.config.unlink()
    if lost == "after the token was used":
        (machine.state_dir / "secrets.json").unlink()
        (machine.state_dir / "host" / "host.crt").unlink()
    assert machine.join(token) == 0, machine.said
    assert (machine.state_dir / "host" / "host.key").read_bytes() == key
    assert machine.config.exists()
    assert json.loads(membership.read_text())["is_whole"]
    age(site, token)
    assert machine.join(token) == 1, "not for ever: the host is known by its key, but the token has its time"


# -- attacks ---------------------------------------------------------------------------------------------------------


def test_what_is_said_at_the_door_does_no_harm(site: Site, machine: Machine) -> None:
    lines = (
        b"", b"\n", b"{}\n", b"\xff\xfe\n", b"x" * 100_000 + b"\n", b'{"type":"join"}\n', b"[" * 10_000 + b"\n",
        b'{"type":"join","token":"\\u0000","secret":"","host":"h","request":""}\n', b"GET / HTTP/1.1\r\n\r\n",
    )
    for line in lines:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", site.port), timeout=30) as plain, context.wrap_socket(plain) as tls:
            try:  # who says too much may find the door closed in the middle of it
                tls.sendall(line)
                assert not line or b"bundle" not in tls.recv(65_536)
            except (ConnectionError, ssl.SSLEOFError):
                continue
    assert machine.join(site.token()) == 0, machine.said


def test_those_who_hold_the_door_open_keep_nobody_out_for_long(
    site: Site, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "QUESTION_S", 3.0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    token = site.token()
    held = []
    try:
        for _ in range(listen.MOST_AT_ONCE):
            held.append(context.wrap_socket(socket.create_connection(("127.0.0.1", site.port), timeout=30)))
        assert machine.join(token) == 1
        assert "too many hosts are joining" in machine.said
        for one in held:
            one.settimeout(30)
            assert one.recv(100) == b"", "each is shown out"
        assert machine.join(token) == 0, machine.said
    finally:
        for one in held:
            one.close()


def test_neither_database_nor_log_hold_a_token(site: Site, machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    word = site.token()
    token = join_token.read(word)
    assert machine.join(word) == 0, machine.said
    # By another process: whoever closes a file of SQLite's in this one takes its locks away.
    files = map(str, (site.state_dir / "db").iterdir())
    content = subprocess.run(["cat", *files], capture_output=True, check=True, timeout=30).stdout
    for secret in (token.secret, word):
        assert secret.encode() not in content
        assert secret not in caplog.text
        assert secret not in machine.said
    assert token.id.encode() in content
    assert f"host {machine.name} at 127.0.0.1 joined" in caplog.text


# -- the command -----------------------------------------------------------------------------------------------------


def test_a_token_in_a_file_and_as_an_argument(site: Site, machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(site.token() + "\n")
    assert machine.join("", "--token-file", str(file)) == 0, machine.said
    other = site.machine(machine.name + "-two")
    words = ["join", site.token(), "--host", other.name, "--config", str(other.config)]
    assert pileus(*words, "--state-dir", str(other.state_dir)).returncode == 0
    assert other.config.exists()


def test_a_token_file_that_is_not_there(machine: Machine) -> None:
    assert machine.join("", "--token-file", "/nowhere/token") == 1
    assert "/nowhere/token" in machine.said


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["--process", "a=nothing"], 2, "there is no role 'nothing'"),
        (["--process", "a=image-api:80"], 2, "[database] has no URL for image"),
        (["--process", AGENTS, "--ttl-s", "0"], 2, "a token is good for"),
        ([], 2, "--process"),
    ],
)
def test_tokens_that_are_not_made(site: Site, words: list[str], status: int, says: str) -> None:
    done = site.host("token", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr


def test_tokens_are_made_on_a_controller_of_a_cloud_with_a_broker(
    site: Site, machine: Machine, tmp_path: Path
) -> None:
    def refusal(config: Path) -> str:
        done = pileus("host", "token", "--process", AGENTS, "--config", str(config))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        return done.stderr

    alone = tmp_path / "alone.toml"
    alone.write_text(f'[node]\nstate_dir = "{tmp_path}"\n')
    assert "with a message broker" in refusal(alone)
    alone.write_text(f'[node]\nstate_dir = "{tmp_path}"\n[bus]\nurl = "{BROKER}"\n')
    assert "there is no cloud" in refusal(alone)
    assert not (tmp_path / "cluster.key").exists()
    assert machine.join(site.token()) == 0
    machine.config.write_text(machine.config.read_text().replace('"local"', f'"{BROKER}"'))
    assert "run the command on a controller" in refusal(machine.config)


def test_a_one_process_cloud_without_a_broker_opens_no_such_port(tmp_path: Path) -> None:
    with Cloud(tmp_path, services=("join", "identity"), tables={"join": {"port": (port := free_port())}}) as cloud:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        assert not (tmp_path / "db" / "join.sqlite").exists()
        catalog = cloud.request("GET", "/identity/v3/auth/catalog", token=cloud.admin_token()).json()["catalog"]
        assert [entry["type"] for entry in catalog] == ["identity"]
