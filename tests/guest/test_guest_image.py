"""The guest image, booted for real: network, metadata, logins, disk, power. Guests run under emulation in namespaces
that the tests make; nothing outside them is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from guest_machine import Login, Machine, wait_for
from guest_network import GuestNetwork, Segment, command

pytestmark = [pytest.mark.guest, pytest.mark.net]

PROJECT = Path(__file__).resolve().parents[2]
IMAGE_FOLDER = PROJECT / "build/guest"
BUILD_TIMEOUT_S = 600
POWERDOWN_TIMEOUT_S = 30

MAIN = Segment("net-a", "10.77.0", "52:54:00:77:00:01", 1442, metadata_route=True)
SECOND = Segment("net-b", "10.78.0", "52:54:00:78:00:01", 1400, metadata_route=False)
THIRD = Segment("net-c", "10.79.0", "52:54:00:79:00:01", 1500, metadata_route=False)
USER_DATA = "#!/bin/sh\necho ran >>/root/runs\necho user-data says hello from $(hostname)\n"


@pytest.fixture(scope="module")
def image() -> Path:
    command(PROJECT / "guest/build", "--output", IMAGE_FOLDER, timeout_s=BUILD_TIMEOUT_S)
    return IMAGE_FOLDER / "pileus-guest.qcow2"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestNetwork]:
    folder = tmp_path_factory.mktemp("network")
    with GuestNetwork(f"gt{os.getpid()}", folder, (MAIN, SECOND, THIRD)) as made:
        yield made


def overlay(image: Path, path: Path, size: str | None = None) -> Path:
    """A disk of the guest's own over the image, which stays unchanged."""
    extra = [size] if size else []
    command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, path, *extra)
    return path


def nic(network: GuestNetwork, segment: Segment) -> tuple[str, ...]:
    tap = network.tap(segment)
    return (
        "-netdev", f"tap,id={segment.name},ifname={tap},script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev={segment.name},mac={segment.mac}",
    )  # fmt: skip


def openstack_metadata(instance_id: str, hostname: str, key: str) -> dict[str, str]:
    """Metadata paths as OpenStack serves them; user metadata holds names that must not be mistaken for ours."""
    document = {
        "uuid": instance_id,
        "hostname": f"{hostname}.example.org",
        "name": hostname,
        "public_keys": {'my "key"': key + "\n"},
        "meta": {"uuid": "not-this", "hostname": "nor-this"},
    }
    return {"openstack/latest/meta_data.json": json.dumps(document), "openstack/latest/user_data": USER_DATA}


@pytest.fixture(scope="module")
def login(network: GuestNetwork, tmp_path_factory: pytest.TempPathFactory) -> Login:
    key = tmp_path_factory.mktemp("key") / "id"
    network.publish(openstack_metadata("11111111-aaaa", "first", Login.new_key(key)))
    return Login(network.outside, MAIN.guest, key)


@pytest.fixture(scope="module")
def guest(
    image: Path, network: GuestNetwork, login: Login, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("guest")
    disk = overlay(image, folder / "disk.qcow2")
    arguments = (
        "-M", "pc", "-drive", f"file={disk},if=virtio", "-device", "virtio-rng-pci",
        *nic(network, MAIN), *nic(network, SECOND),
    )  # fmt: skip
    with Machine(folder, network.outside, arguments) as machine:
        machine.wait_console("pileus-guest: ready")
        print(f"\nfirst boot to ready: {time.monotonic() - machine.started_at:.1f} s")
        yield machine


class TestLife:
    """One guest from its first boot to power off; the tests run in order and share it."""

    def test_console_tells_the_boot_and_offers_logins(self, guest: Machine) -> None:
        guest.wait_console("pileus-guest: boot")
        guest.wait_console(rf"eth0 {MAIN.guest}/24 gateway {MAIN.gateway} mtu {MAIN.mtu}")
        guest.wait_console(rf"eth1 {SECOND.guest}/24 gateway {SECOND.gateway} mtu {SECOND.mtu}")
        guest.wait_console("user-data says hello from first")
        guest.wait_console("user-data ended with status 0")
        wait_for(lambda: "login:" in guest.screen(), "login prompt on the VGA screen")
        before = len(guest.console)
        guest.type("")
        guest.wait_console("first login:", after=before)
        guest.type("root")
        guest.wait_console("Password:", after=before)
        guest.type("pileus")
        guest.wait_console("#", after=before)
        guest.type("echo logged in as $(id -un)")
        guest.wait_console("logged in as root", after=before)

    def test_ssh_by_key_only(self, guest: Machine, login: Login, tmp_path: Path) -> None:
        assert login.run("hostname") == "first"
        other = tmp_path / "other"
        Login.new_key(other)
        assert "Permission denied (publickey)" in replace(login, key=other).refused()

    def test_options_of_the_lease_are_applied(self, guest: Machine, login: Login) -> None:
        routes = login.run("ip -4 route").splitlines()
        assert f"default via {MAIN.gateway} dev eth0" in routes[0]
        assert "metric 100" in routes[0]
        assert f"default via {SECOND.gateway} dev eth1" in routes[1]
        assert any(f"169.254.169.254 via {MAIN.server} dev eth0" in route for route in routes)
        assert any(f"{MAIN.prefix}.0/24 dev eth0" in route for route in routes)
        assert not any(".99 " in route for route in routes)
        assert login.run("cat /sys/class/net/eth0/mtu /sys/class/net/eth1/mtu").split() == ["1442", "1400"]
        assert f"nameserver {MAIN.server}" in login.run("cat /etc/resolv.conf")
        # The name is resolved by the segment's own server, then pinged.
        assert "1 packets received" in login.run("ping -c 1 www.test")

    def test_ipv6_address_from_router_advertisement(self, guest: Machine, login: Login) -> None:
        wait_for(lambda: f"inet6 {MAIN.ipv6_prefix}" in login.run("ip -6 address show eth0"), "SLAAC address")

    def test_web_page_names_the_instance(self, guest: Machine, network: GuestNetwork) -> None:
        fetch = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=20).read().decode())"
        url = f"http://{MAIN.guest}/"
        page = command("ip", "netns", "exec", network.outside, "python3", "-c", fetch, url)
        assert page.split() == ["first", "11111111-aaaa"]

    def test_interface_plugged_while_running_gets_a_lease(
        self, guest: Machine, network: GuestNetwork, login: Login
    ) -> None:
        tap = network.tap(THIRD)
        guest.qmp("netdev_add", type="tap", id="plugged", ifname=tap, script="no", downscript="no")
        guest.qmp("device_add", driver="virtio-net-pci", id="nic-c", netdev="plugged", mac=THIRD.mac)
        guest.wait_console(rf"eth2 {THIRD.guest}/24")
        guest.qmp("device_del", id="nic-c")
        guest.wait_console("eth2 removed")
        assert f"default via {MAIN.gateway}" in login.run("ip -4 route")
        guest.qmp("netdev_del", id="plugged")

    def test_disk_survives_reboot_and_user_data_runs_once(self, guest: Machine, login: Login) -> None:
        host_key = login.run("cat /etc/dropbear/ed25519.pub")
        login.run("echo kept >/root/marker")
        before = len(guest.console)
        guest.type("reboot")
        started = time.monotonic()
        guest.wait_console("pileus-guest: boot", after=before)
        guest.wait_console("pileus-guest: ready", after=before)
        print(f"\nreboot to ready: {time.monotonic() - started:.1f} s")
        assert login.run("cat /root/marker") == "kept"
        # The check for user-data comes just after "ready"; it has ended when its process has.
        wait_for(lambda: login.run("pidof user-data configure || true") == "", "end of configuration")
        assert login.run("cat /root/runs") == "ran"
        assert login.run("cat /etc/dropbear/ed25519.pub") == host_key

    def test_disk_of_another_instance_takes_a_new_identity(
        self, guest: Machine, network: GuestNetwork, login: Login, tmp_path: Path
    ) -> None:
        host_key = login.run("cat /etc/dropbear/ed25519.pub")
        new = replace(login, key=tmp_path / "new")
        network.publish(openstack_metadata("22222222-bbbb", "second", Login.new_key(new.key)))
        before = len(guest.console)
        guest.qmp("system_reset")
        guest.wait_console("user-data ended with status 0", after=before)
        assert new.run("hostname") == "second"
        assert "Permission denied (publickey)" in login.refused()
        assert new.run("cat /etc/dropbear/ed25519.pub") != host_key
        assert new.run("cat /root/runs").split() == ["ran", "ran"]

    def test_power_button_ends_the_machine(self, guest: Machine) -> None:
        started = time.monotonic()
        guest.qmp("system_powerdown")
        try:
            assert guest.process.wait(POWERDOWN_TIMEOUT_S) == 0
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running:\n{guest.text()[-2000:]}")
        print(f"\npower button to end: {time.monotonic() - started:.1f} s")


def test_config_drive_and_larger_scsi_disk_on_q35(image: Path, network: GuestNetwork, tmp_path: Path) -> None:
    """No network at all: identity from a config drive, on the other machine type, with a root disk that grew."""
    drive = tmp_path / "config.img"
    content = tmp_path / "openstack/latest"
    content.mkdir(parents=True)
    for path, text in openstack_metadata("33333333-cccc", "third", "ssh-ed25519 AAAA none").items():
        (tmp_path / path).write_text(text)
    drive.write_bytes(bytes(2**20))
    command("mkfs.vfat", "-n", "config-2", drive)
    command("mcopy", "-s", "-i", drive, tmp_path / "openstack", "::")
    disk = overlay(image, tmp_path / "disk.qcow2", "1G")
    arguments = (
        "-M", "q35", "-device", "virtio-scsi-pci", "-drive", f"file={disk},if=none,id=root",
        "-device", "scsi-hd,drive=root", "-drive", f"file={drive},format=raw,if=virtio,readonly=on",
    )  # fmt: skip
    with Machine(tmp_path, network.outside, arguments) as guest:
        guest.wait_console("metadata from config drive")
        guest.wait_console("pileus-guest: ready")
        guest.wait_console("user-data says hello from third")
        guest.type("root")
        guest.wait_console("Password:")
        guest.type("pileus")
        guest.wait_console("third:~# |~ # ")
        guest.type("while ! df -m / | grep -q ' 9[0-9][0-9] '; do sleep 1; done; echo grown: $?")
        guest.wait_console("grown: 0")


def test_ec2_style_metadata(image: Path, network: GuestNetwork, tmp_path: Path) -> None:
    """A metadata service that knows only the EC2 paths is enough."""
    login = Login(network.outside, MAIN.guest, tmp_path / "id")
    network.publish(
        {
            "latest/meta-data/instance-id": "i-00000004",
            "latest/meta-data/hostname": "fourth",
            "latest/meta-data/public-keys/0/openssh-key": Login.new_key(login.key) + "\n",
        }
    )
    disk = overlay(image, tmp_path / "disk.qcow2")
    arguments = ("-M", "q35", "-drive", f"file={disk},if=virtio", *nic(network, MAIN))
    with Machine(tmp_path, network.outside, arguments) as guest:
        guest.wait_console("pileus-guest: ready")
        assert login.run("hostname; cat /var/lib/pileus/instance-id").split() == ["fourth", "i-00000004"]


def test_late_network_and_late_metadata_are_still_taken(image: Path, network: GuestNetwork, tmp_path: Path) -> None:
    """On a busy cloud a guest may boot before its DHCP server and metadata are there."""
    network.publish({})
    dhcp_server = network.dhcp_servers[MAIN.name]
    disk = overlay(image, tmp_path / "disk.qcow2")
    arguments = ("-M", "pc", "-smp", "2", "-drive", f"file={disk},if=virtio", *nic(network, MAIN))
    dhcp_server.send_signal(signal.SIGSTOP)
    try:
        with Machine(tmp_path, network.outside, arguments, memory_mib=96) as guest:
            guest.wait_console("eth0 no DHCP answer yet")
            dhcp_server.send_signal(signal.SIGCONT)
            guest.wait_console(rf"eth0 {MAIN.guest}/24")
            guest.wait_console("no metadata after 30 s")
            guest.wait_console("pileus-guest: ready")
            network.publish(openstack_metadata("55555555-eeee", "fifth", "ssh-ed25519 AAAA none"))
            guest.wait_console("instance 55555555-eeee, 1 ssh key")
            guest.wait_console("user-data says hello from fifth")
    finally:
        dhcp_server.send_signal(signal.SIGCONT)


def test_build_is_skipped_when_nothing_changed(image: Path) -> None:
    started, before = time.monotonic(), image.stat()
    said = command(PROJECT / "guest/build", "--output", IMAGE_FOLDER)
    assert "up to date" in said
    assert image.stat().st_mtime_ns == before.st_mtime_ns
    assert time.monotonic() - started < 10
