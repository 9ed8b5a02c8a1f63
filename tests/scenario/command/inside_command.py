"""`pileus up`, `down`, `status`, `doctor`, `run`: what they say and answer, well and ill; the usual ports."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from keystoneauth1 import discover, session
from keystoneauth1.identity import v3

from pileus.kernel.process import secrets
from tests.scenario.cloud.installation import BIN, run, wait_for

CONFIG = """
[node]
host = "h1"
cloud = "command"
port = {port}
state_dir = "{state}"
usual_ports = {usual}
{more}
[compute.agent]
hypervisor = "fake"
[network]
l2_driver = "fake"
l3_driver = "fake"
dhcp_driver = "fake"
{network}
"""
USUAL = {"identity": 5000, "compute": 8774, "placement": 8778, "image": 9292, "network": 9696}


class Command:
    """One cloud's configuration and the command on it."""

    def __init__(self, directory: Path, *, port: int = 8900, usual: str = "false", more: str = "", network: str = ""):
        directory.mkdir(exist_ok=True)
        self.state = directory / "state"
        self.config = directory / "pileus.toml"
        self.config.write_text(CONFIG.format(port=port, state=self.state, usual=usual, more=more, network=network))
        self.url = f"http://127.0.0.1:{port}"

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(str(BIN / "pileus"), *arguments, "--config", str(self.config), check=False)

    @property
    def pid(self) -> int:
        return int((self.state / "run" / "pileus.pid").read_text())

    @property
    def password(self) -> str:
        return secrets.secret(self.state, "admin-password")

    def auth(self, url: str) -> session.Session:
        scope = {"project_name": "admin", "user_domain_id": "default", "project_domain_id": "default"}
        return session.Session(v3.Password(auth_url=url, username="admin", password=self.password, **scope))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A cloud that runs, with the usual ports."""
    command = Command(tmp_path_factory.mktemp("cloud"), usual="true")
    started = command("up")
    assert (started.returncode, started.stderr) == (0, "")
    assert "The cloud is up after" in started.stdout
    yield command
    command("down")


def test_up_again_finds_everything_in_place(cloud: Command) -> None:
    pid = cloud.pid
    again = cloud("up")
    assert (again.returncode, cloud.pid) == (0, pid)
    assert again.stdout.startswith(f"The cloud runs already (process {pid}).")


def test_status_and_doctor_are_content(cloud: Command) -> None:
    wait_for("all agents up", lambda: cloud("status").returncode == 0)
    shown = cloud("status").stdout
    for line in ("process   ", "up        nova-compute on h1", "up        pileus-l3-agent on h1", "servers   none"):
        assert line in shown
    assert "127.0.0.1:9696 is this cloud's" in cloud("doctor").stdout


def test_only_loopback_is_listened_on(cloud: Command) -> None:
    lines = run("ss", "-Hltnp").stdout.splitlines()
    ours = [line.split()[3] for line in lines if f"pid={cloud.pid}," in line]
    assert sorted(ours) == sorted(f"127.0.0.1:{port}" for port in (8900, *USUAL.values()))


def test_what_holds_secrets_is_for_the_owner_only(cloud: Command) -> None:
    open_to_others = {
        path.relative_to(cloud.state).parts[0]
        for path in cloud.state.rglob("*")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077 and not _closed_above(path, cloud.state)
    }
    assert open_to_others <= {"compute"}, open_to_others
    assert stat.S_IMODE(cloud.state.stat().st_mode) == 0o711
    for name in ("clouds.yaml", "openrc", "cluster.key", "db/identity.sqlite", "log/pileus.log"):
        assert stat.S_IMODE((cloud.state / name).stat().st_mode) == 0o600, name


def _closed_above(path: Path, root: Path) -> bool:
    return any(not parent.stat().st_mode & 0o011 for parent in path.parents if root in parent.parents)


def test_the_log_holds_no_secret(cloud: Command) -> None:
    known = cloud.auth(cloud.url + "/identity")
    token = known.get_token()
    assert token
    assert known.get("/servers", endpoint_filter={"service_type": "compute"}).status_code == 200
    assert requests.get(cloud.url + f"/compute/v2.1/servers?marker={cloud.password}", timeout=5).status_code == 401
    log = (cloud.state / "log" / "pileus.log").read_text()
    for name in ("service-password-compute", "token-keys", "admin-password"):
        assert secrets.secret(cloud.state, name) not in log
    assert token not in log


@pytest.mark.parametrize("service", USUAL)
def test_discovery_at_a_usual_port(cloud: Command, service: str) -> None:
    root = f"http://127.0.0.1:{USUAL[service]}"
    known = cloud.auth("http://127.0.0.1:5000")
    found = discover.Discover(known, root).version_data()
    assert found
    assert all(version["url"].startswith(root + "/") or version["url"] == root for version in found)
    newest = found[-1]["url"]
    assert known.get(newest).status_code == 200
    offered = {"compute": ((2, 1), (2, 104)), "placement": ((1, 0), (1, 39))}.get(service, (None, None))
    assert (found[-1]["min_microversion"], found[-1]["max_microversion"]) == offered
    lists = {
        "identity": "/v3/users", "compute": "/v2.1/flavors", "placement": "/resource_providers",
        "image": "/v2/images", "network": "/v2.0/networks",
    }  # fmt: skip
    assert known.get(root + lists[service]).status_code == 200


def test_links_lead_back_to_the_usual_port(cloud: Command) -> None:
    known = cloud.auth("http://127.0.0.1:5000")
    body = {"flavor": {"name": "linked", "ram": 1, "vcpus": 1, "disk": 0}}
    made = known.post("http://127.0.0.1:8774/v2.1/flavors", json=body).json()["flavor"]
    assert made["links"][0]["href"] == f"http://127.0.0.1:8774/v2.1/flavors/{made['id']}"
    page = known.get("http://127.0.0.1:9696/v2.0/security-groups?limit=1").json()
    assert all(link["href"].startswith("http://127.0.0.1:9696/") for link in page["security_groups_links"])


def test_a_taken_port_is_named(cloud: Command, tmp_path: Path) -> None:
    second = Command(tmp_path / "second", port=8900)
    refused = second("up")
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "pileus: pileus ended with status 1:",
        "  pileus: cannot listen on 127.0.0.1:8900: Address already in use",
    ]
    assert "LACK  port: 127.0.0.1:8900" in second("doctor").stdout
    assert second("status").returncode == 1
    refused = second("demo", "--image", "/nowhere")
    assert (refused.returncode, "does not run; start it with `pileus up`" in refused.stderr) == (1, True)


def test_a_second_process_of_the_same_cloud_does_not_start(cloud: Command) -> None:
    refused = cloud("run")
    assert refused.returncode == 1
    assert refused.stderr == f"pileus: a process of the cloud in {cloud.state} runs already\n"


def test_two_clouds_side_by_side_and_a_process_that_was_killed(cloud: Command, tmp_path: Path) -> None:
    second = Command(tmp_path / "second", port=8901)
    assert second("up").returncode == 0
    pid = second.pid
    os.kill(pid, signal.SIGKILL)
    wait_for("the end of the process", lambda: second("status").returncode == 1)
    assert second("status").stdout == f"The cloud in {second.state} does not run.\n"
    # Its number belongs to somebody else now: another cloud, even.
    (second.state / "run" / "pileus.pid").write_text(f"{cloud.pid}\n")
    stopped = second("down")
    assert (stopped.returncode, stopped.stdout) == (0, "The cloud does not run.\n")
    assert second("up").returncode == 0
    assert second.pid not in (pid, cloud.pid)
    assert second("down").stdout == "The cloud is down. Guests and networks go on.\n"
    assert cloud("status").returncode == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("colour = 1", "[node] Object contains unknown field `colour`"),
        ('log_level = "LOUD"', "[node] Invalid enum value 'LOUD'"),
        ("[compuet]\nx = 1", "[compuet] is no table of the configuration; there are bus, cache, compute, "),
        ("[image]\npolicy_file = '/no/such/policy.yaml'", "[image] policy_file: "),
        ("[identity]\ntoken_lifetime_s = 'long'", "[identity] Expected `int`, got `str`"),
        ("= ", "pileus.toml: "),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_in_one_line(tmp_path: Path, more: str, words: str) -> None:
    refused = Command(tmp_path / "bad", port=8902, more=more)("up")
    assert refused.returncode == 1
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    def up(*arguments: str) -> str:
        done = run(str(BIN / "pileus"), "up", *arguments, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        return done.stderr

    (tmp_path / "file").write_bytes(b"\xff")
    assert up("--config", str(tmp_path / "none.toml")) == (
        f"pileus: there is no configuration file {tmp_path / 'none.toml'}\n"
    )
    assert "cannot be read: Is a directory" in up("--config", str(tmp_path))
    assert "can't decode byte" in up("--config", str(tmp_path / "file"))
    assert str(tmp_path / "file") in up("--state-dir", str(tmp_path / "file"))
    doctor = run(str(BIN / "pileus"), "doctor", "--state-dir", str(tmp_path / "file"), check=False)
    assert (doctor.returncode, "LACK  state directory: " in doctor.stdout) == (1, True)


def test_operators_policy_files_hold(tmp_path: Path) -> None:
    """In the syntax of oslo.policy, for every service."""
    rules = {
        "identity": '"identity:list_regions": "!"',
        "image": '"get_images": "role:nobody or (not role:admin)"',
        "placement": '"placement:resource_providers:list": "rule:mine"\n"mine": "project_id:nobody"',
        "compute": '"os_compute_api:os-keypairs:index": "user_id:nobody"',
        "network": '"get_quota": "rule:admin_only and !"',
    }
    for service, text in rules.items():
        (tmp_path / f"{service}.yaml").write_text(f"# an operator's file\n{text}\n")
    tables = "".join(f"[{kind}]\npolicy_file = '{tmp_path}/{kind}.yaml'\n" for kind in rules if kind != "network")
    command = Command(tmp_path / "cloud", port=8903, more=tables, network=f"policy_file = '{tmp_path}/network.yaml'")
    started = command("up")
    try:
        assert started.returncode == 0, started.stderr
        known = command.auth(command.url + "/identity")
        closed = ("/identity/v3/regions", "/image/v2/images", "/placement/resource_providers",
                  "/compute/v2.1/os-keypairs", "/network/v2.0/quotas/x")  # fmt: skip
        for path in closed:
            assert known.get(command.url + path, raise_exc=False).status_code == 403, path
        for path in ("/identity/v3/users", "/compute/v2.1/flavors", "/network/v2.0/ports"):
            assert known.get(command.url + path).status_code == 200, path
    finally:
        command("down")


def test_without_root(cloud: Command, tmp_path: Path) -> None:
    """Whoever may not run a cloud is told so, in a line; and nobody else's cloud is said not to run."""

    def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
        # Imported first: this Python itself may lie where only root can read.
        code = (
            "import os, sys; from pileus.cli import doctor, main, status, up; "
            "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534); "
            "sys.exit(main.main())"
        )
        return run(sys.executable, "-c", code, *arguments, check=False)

    for arguments in (("status", "--state-dir", str(cloud.state)), ("up", "--state-dir", "/proc/sys/cloud")):
        refused = as_nobody(*arguments)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1), refused.stderr
    assert "LACK  root: user id 65534" in as_nobody("doctor", "--state-dir", "/var/tmp/no-such-cloud").stdout


def test_down_ends_the_process_and_may_be_said_twice(cloud: Command) -> None:
    pid = cloud.pid
    assert cloud("down").stdout == "The cloud is down. Guests and networks go on.\n"
    status = Path(f"/proc/{pid}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()  # nobody reaps it in a test's own host
    again = cloud("down")
    assert (again.returncode, again.stdout) == (0, "The cloud does not run.\n")
    assert "127.0.0.1:8900 is free" in cloud("doctor").stdout
