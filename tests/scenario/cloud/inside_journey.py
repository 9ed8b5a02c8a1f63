"""From nothing to a guest that answers, and everything an owner does with it, through the stock client."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenario.cloud.installation import Installation, run, wait_for


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installed = Installation(tmp_path_factory.mktemp("cloud"))
    installed.pileus("up")
    try:
        yield installed
    finally:
        installed.tear_down()


@pytest.fixture(scope="module")
def demo(cloud: Installation) -> str:
    return cloud.demo()


def address_of(cloud: Installation, server: str) -> str:
    """The floating address of a server."""
    addresses = cloud.openstack("server", "show", server, "-f", "json")["addresses"]
    return next(ip for ips in addresses.values() for ip in ips if ip.startswith("172.24.4."))


def status_of(cloud: Installation, server: str) -> str:
    return cloud.openstack("server", "show", server, "-f", "json")["status"]


def test_the_first_guest_answers_at_the_printed_ssh_command(cloud: Installation, demo: str) -> None:
    command = next(line.strip() for line in demo.splitlines() if line.strip().startswith("ssh "))
    done = subprocess.run([*command.split(), "hostname"], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "first"


def test_up_and_demo_find_everything_in_place(cloud: Installation, demo: str) -> None:
    assert "runs already" in cloud.pileus("up").stdout
    again = cloud.demo()
    assert again.splitlines()[-4:] == demo.splitlines()[-4:]
    assert len(cloud.openstack("server", "list", "--all-projects", "-f", "json", cloud="pileus-admin")) == 1


def test_status_is_well(cloud: Installation, demo: str) -> None:
    text = cloud.pileus("status").stdout
    assert "DOWN" not in text
    assert "1 ACTIVE" in text


def test_the_trace_shows_what_each_host_job_did(cloud: Installation, demo: str) -> None:
    server = cloud.openstack("server", "show", "first", "-f", "json")["id"]
    hops = json.loads(cloud.pileus("trace", server, "--json").stdout)["hops"]
    built = ["PrepareServer", "image", "root disk", "taps", "guest", "StartServer", "start guest"]
    agent = [hop["name"] for hop in hops if hop["role"] == "compute-agent"]
    assert [name for name in agent if name in built][: len(built)] == [*built[:-1], "taps"], agent
    assert "start guest" in agent
    network = {(hop["role"], hop["name"]) for hop in hops if hop["role"].startswith("network-")}
    assert {("network-l2", "port ACTIVE"), ("network-dhcp", "lease ready")} <= network
    assert {hop["host"] for hop in hops} == {"h1"}
    floating_ip = cloud.openstack("floating", "ip", "list", "-f", "json")[0]["ID"]
    lines = cloud.pileus("trace", floating_ip).stdout.splitlines()
    assert any("network-l3" in line and "floating IP leads to its port" in line for line in lines)
    assert cloud.pileus("why", server).stdout.startswith("It is ACTIVE; nothing failed.\n")


def test_the_guest_knows_itself_from_the_metadata_service(cloud: Installation, demo: str) -> None:
    server = cloud.openstack("server", "show", "first", "-f", "json")
    address = address_of(cloud, "first")
    text = cloud.ssh(address, "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json")
    found = json.loads(text)
    assert found["uuid"] == server["id"]
    forged = "wget -q -O - --header 'X-Instance-ID: 00000000-0000-0000-0000-000000000000' "
    again = json.loads(cloud.ssh(address, forged + "http://169.254.169.254/openstack/latest/meta_data.json"))
    assert again["uuid"] == server["id"]


def test_the_guest_reaches_the_outside_with_its_floating_address(cloud: Installation, demo: str) -> None:
    address = address_of(cloud, "first")
    listener = subprocess.Popen(
        ["timeout", "30", "nc", "-l", "-n", "-v", "172.24.4.1", "7777"], stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for("the listener", lambda: "7777" in run("ss", "-ltn").stdout)
        cloud.ssh(address, "echo hello | nc -w 3 172.24.4.1 7777", check=False)
        _, seen = listener.communicate(timeout=40)
    finally:
        listener.kill()
    assert f"from {address}" in seen or address in seen


@pytest.fixture(scope="module")
def web(cloud: Installation, demo: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second server with user data, made only with the stock client."""
    script = tmp_path_factory.mktemp("web") / "user-data"
    script.write_text("#!/bin/sh\necho user data ran on $(hostname) > /root/proof\n")
    cloud.openstack("server", "create", "--image", "pileus-guest", "--flavor", "m1.nano", "--network", "private",
                    "--key-name", "demo", "--user-data", str(script), "--wait", "web")  # fmt: skip
    ip = cloud.openstack("floating", "ip", "create", "public", "-f", "json")["floating_ip_address"]
    cloud.openstack("server", "add", "floating", "ip", "web", ip)
    wait_for("ssh to web", lambda: cloud.ssh(ip, "cat /root/proof", check=False), 120)
    return ip


def test_user_data_ran_and_the_console_tells(cloud: Installation, web: str) -> None:
    assert cloud.ssh(web, "cat /root/proof") == "user data ran on web"
    assert "pileus-guest" in cloud.openstack("console", "log", "show", "web")


def test_guests_of_one_network_reach_each_other(cloud: Installation, web: str) -> None:
    first = cloud.openstack("server", "show", "first", "-f", "json")["addresses"]
    inner = next(ip for ips in first.values() for ip in ips if ip.startswith("10.0.0."))
    assert "1 packets received" in cloud.ssh(web, f"ping -c 1 -W 5 {inner}")


def test_stop_ends_the_process_and_start_brings_the_disk_back(cloud: Installation, web: str) -> None:
    server_id = cloud.openstack("server", "show", "web", "-f", "json")["id"]
    cloud.ssh(web, "echo kept > /root/marker; sync")
    cloud.openstack("server", "stop", "web")
    wait_for("SHUTOFF", lambda: status_of(cloud, "web") == "SHUTOFF", 90)
    assert cloud.process_of(server_id) is None
    cloud.openstack("server", "start", "web")
    wait_for("ACTIVE", lambda: status_of(cloud, "web") == "ACTIVE", 90)
    assert cloud.process_of(server_id) is not None
    assert wait_for("ssh after start", lambda: cloud.ssh(web, "cat /root/marker", check=False), 120) == "kept"


@pytest.mark.parametrize("kind", ["--soft", "--hard"])
def test_reboot(cloud: Installation, web: str, kind: str) -> None:
    before = cloud.ssh(web, "cat /proc/sys/kernel/random/boot_id")
    cloud.openstack("server", "reboot", kind, "--wait", "web")

    def rebooted() -> bool:
        now = cloud.ssh(web, "cat /proc/sys/kernel/random/boot_id", check=False)
        return bool(now) and now != before

    wait_for("another boot", rebooted, 120)


def test_a_security_group_rule_opens_and_closes_a_port_of_a_running_guest(cloud: Installation, web: str) -> None:
    def reachable() -> bool:
        return run("nc", "-z", "-w", "2", web, "80", check=False).returncode == 0

    assert not reachable()
    rule = cloud.openstack("security", "group", "rule", "create", "--proto", "tcp", "--dst-port", "80", "default",
                           "-f", "json")  # fmt: skip
    wait_for("port 80 open", reachable, 20)
    cloud.openstack("security", "group", "rule", "delete", rule["id"])
    wait_for("port 80 closed", lambda: not reachable(), 20)


def test_a_restart_of_the_cloud_leaves_guests_alone(cloud: Installation, web: str) -> None:
    ping = subprocess.Popen(["ping", "-i", "0.2", "-c", "60", web], stdout=subprocess.PIPE, text=True)
    cloud.pileus("down")
    cloud.pileus("up")
    out, _ = ping.communicate(timeout=60)
    assert " 0% packet loss" in out
    assert cloud.ssh(web, "hostname") == "web"


def virsh(*arguments: str) -> str:
    """What somebody with root on the host may do to guests."""
    return run("virsh", "-c", "qemu:///system", *arguments).stdout


def domain_of(server_id: str) -> str:
    """What libvirt calls a server's guest."""
    listed = virsh("list", "--all", "--uuid", "--name")
    return next(line.split()[1] for line in listed.splitlines() if server_id in line)


def test_a_guest_removed_by_hand_while_the_cloud_was_down_is_back_with_it(cloud: Installation, web: str) -> None:
    ping = subprocess.Popen(
        ["ping", "-i", "0.2", "-c", "100", address_of(cloud, "first")], stdout=subprocess.PIPE, text=True
    )
    cloud.ssh(web, "echo kept > /root/by-hand; sync")
    server_id = cloud.openstack("server", "show", "web", "-f", "json")["id"]
    port = cloud.openstack("port", "list", "--server", "web", "-f", "json")[0]["ID"]
    cloud.pileus("down")
    name = domain_of(server_id)
    virsh("destroy", name)
    virsh("undefine", name)
    run("ip", "link", "del", f"tap{port[:11]}")
    assert cloud.process_of(server_id) is None
    cloud.pileus("up")
    assert wait_for("ssh to web", lambda: cloud.ssh(web, "cat /root/by-hand", check=False), 180) == "kept"
    assert status_of(cloud, "web") == "ACTIVE"
    out, _ = ping.communicate(timeout=120)
    assert " 0% packet loss" in out  # the untouched guest


def test_a_guest_ended_by_hand_is_shown_as_it_is_and_starts_again(cloud: Installation, web: str) -> None:
    server_id = cloud.openstack("server", "show", "web", "-f", "json")["id"]
    virsh("destroy", domain_of(server_id))
    wait_for("SHUTOFF", lambda: status_of(cloud, "web") == "SHUTOFF", 90)
    cloud.openstack("server", "start", "web")
    wait_for("ssh to web", lambda: cloud.ssh(web, "hostname", check=False), 180)
    assert cloud.process_of(server_id) is not None
    assert cloud.pileus("verify").returncode == 0


def test_same_addresses_in_another_project_do_not_meet(cloud: Installation, web: str) -> None:
    admin: dict[str, Any] = {"cloud": "pileus-admin"}
    cloud.openstack("network", "create", "private2", **admin)
    cloud.openstack("subnet", "create", "--network", "private2", "--subnet-range", "10.0.0.0/24", "s2", **admin)
    cloud.openstack("server", "create", "--image", "pileus-guest", "--flavor", "m1.nano", "--network", "private2",
                    "--wait", "other", **admin)  # fmt: skip

    def booted() -> bool:
        return "ready" in cloud.openstack("console", "log", "show", "other", **admin)

    wait_for("the other guest", booted, 120)
    other = cloud.openstack("server", "show", "other", "-f", "json", **admin)["addresses"]["private2"][0]
    mine = {ip for ips in cloud.openstack("server", "show", "web", "-f", "json")["addresses"].values() for ip in ips}
    if other not in mine:
        assert "1 packets received" not in cloud.ssh(web, f"ping -c 1 -W 2 {other}", check=False)
    cloud.openstack("server", "delete", "--wait", "other", **admin)


def test_delete_leaves_nothing_of_the_guest(cloud: Installation, web: str) -> None:
    server_id = cloud.openstack("server", "show", "web", "-f", "json")["id"]
    port = cloud.openstack("port", "list", "--server", "web", "-f", "json")[0]["ID"]
    directory = [path for path in Path(cloud.state).rglob(server_id)]
    assert directory
    cloud.openstack("server", "delete", "--wait", "web")
    assert cloud.process_of(server_id) is None
    assert not any(path.exists() for path in directory)
    assert port[:11] not in run("ip", "-o", "link").stdout
    assert "No" in cloud.openstack("port", "show", port, check=False)
    allocations = cloud.openstack("resource", "provider", "allocation", "show", server_id, "-f", "json",
                                  cloud="pileus-admin")  # fmt: skip
    assert not allocations
    wait_for("rules gone", lambda: port[:11] not in run("iptables-save").stdout, 20)
