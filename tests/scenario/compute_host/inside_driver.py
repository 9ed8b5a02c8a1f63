"""The libvirt driver keeps the drivers' contract, on a libvirtd that it started."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import uuid
from pathlib import Path

import pytest

from pileus.kernel.host import qemu_img
from pileus.services.compute.drivers.hypervisor.interface import (
    DiskDefinition,
    GuestDefinition,
    GuestNotFound,
    Hypervisor,
)
from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor, kvm_probe
from tests.scenario.compute_host.private_host import processes_with
from tests.unit.compute_host import contract

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def make_guest(directory: Path) -> GuestDefinition:
    """A guest with an empty disk: its firmware runs and finds nothing to boot."""
    server_id = str(uuid.uuid4())
    disk = directory / f"{server_id}.disk"
    await qemu_img.create(disk, 2**20)
    disks = (DiskDefinition(disk, "qcow2", "vda"),)
    return GuestDefinition(server_id, 1, "a <server> & \x07'more'", 1, 32, directory / f"{server_id}.log", disks)


async def test_contract(hypervisor: LibvirtHypervisor, tmp_path: Path) -> None:
    assert isinstance(hypervisor, Hypervisor)
    await contract.host_facts_are_plausible(hypervisor)
    await contract.unknown_guests_are_not_found(hypervisor)
    await contract.guests_are_defined_started_stopped_and_forgotten(hypervisor, await make_guest(tmp_path))
    await contract.redefining_raises_the_generation_and_keeps_the_state(hypervisor, await make_guest(tmp_path))
    await contract.many_guests_at_once(hypervisor, [await make_guest(tmp_path) for _ in range(5)])


async def test_acceleration_is_what_a_probe_guest_says(hypervisor: LibvirtHypervisor) -> None:
    facts = await hypervisor.host_facts()
    kvm_failure = "no device" if not Path("/dev/kvm").exists() else await kvm_probe.probe("kvm", "host")
    assert facts.acceleration.kind == ("kvm" if kvm_failure is None else "tcg")
    assert facts.hypervisor_type == "QEMU"


async def test_guests_outlive_the_daemon_and_the_driver_reconnects(
    hypervisor: LibvirtHypervisor, tmp_path: Path
) -> None:
    guest = await make_guest(tmp_path)
    await hypervisor.define(guest)
    await hypervisor.start(guest.server_id)
    pid = hypervisor._daemon.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while hypervisor._daemon.pid == pid:
            await asyncio.sleep(0.05)
    state = await hypervisor.inspect(guest.server_id)
    assert state is not None
    assert state.power_state == "running"
    assert hypervisor._daemon.pid not in (None, pid)
    await hypervisor.undefine(guest.server_id)
    assert processes_with(guest.server_id) == []


async def test_a_killed_guest_counts_as_crashed(hypervisor: LibvirtHypervisor, tmp_path: Path) -> None:
    guest = await make_guest(tmp_path)
    await hypervisor.define(guest)
    await hypervisor.start(guest.server_id)
    (pid,) = processes_with(guest.server_id)
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while (state := await hypervisor.inspect(guest.server_id)) and state.power_state == "running":
            await asyncio.sleep(0.05)
    assert state is not None
    assert (state.power_state, state.clean_stop) == ("crashed", False)
    await hypervisor.undefine(guest.server_id)


async def test_the_display_listens_on_loopback_only(hypervisor: LibvirtHypervisor, tmp_path: Path) -> None:
    guest = await make_guest(tmp_path)
    await hypervisor.define(guest)
    state = await hypervisor.start(guest.server_id)
    assert state.vnc_port is not None
    with socket.create_connection(("127.0.0.1", state.vnc_port), timeout=5) as display:
        assert display.recv(4) == b"RFB "
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True, timeout=10).stdout
    assert f"127.0.0.1:{state.vnc_port}" in listening
    assert f"0.0.0.0:{state.vnc_port}" not in listening
    await hypervisor.undefine(guest.server_id)


async def test_others_guests_are_not_touched(hypervisor: LibvirtHypervisor, tmp_path: Path) -> None:
    guest = await make_guest(tmp_path)
    await hypervisor.define(guest)
    other_cloud = LibvirtHypervisor(cloud="another", state_dir=tmp_path)
    await other_cloud.open()
    assert guest.server_id not in {each.server_id for each in await other_cloud.list_guests()}
    await other_cloud.undefine(guest.server_id)
    with pytest.raises(GuestNotFound):
        await other_cloud.start(guest.server_id)
    with pytest.raises(GuestNotFound):
        await other_cloud.define(guest)
    assert await hypervisor.inspect(guest.server_id) is not None
    await other_cloud.close()
    await hypervisor.undefine(guest.server_id)


async def test_starts_at_the_same_time_are_one(hypervisor: LibvirtHypervisor, tmp_path: Path) -> None:
    guest = await make_guest(tmp_path)
    await hypervisor.define(guest)
    states = await asyncio.gather(*(hypervisor.start(guest.server_id) for _ in range(4)))
    assert {state.power_state for state in states} == {"running"}
    assert len(processes_with(guest.server_id)) == 1
    await hypervisor.undefine(guest.server_id)
