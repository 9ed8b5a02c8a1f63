"""A libvirtd that the machine runs already is used as it is: here with Debian's defaults, QEMU as its own user."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from pileus.kernel.host import qemu_img
from pileus.services.compute.drivers.hypervisor.interface import DiskDefinition, GuestDefinition
from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor
from tests.scenario.compute_host.private_host import processes_with

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 2**20
ENTER_ONLY, CLOSED = 0o711, 0o700


@pytest.fixture(scope="module")
def system_libvirtd() -> Iterator[None]:
    """What a system's init would run, without configuration files."""
    if Path("/dev/kvm").exists():  # libvirtd asks QEMU again and again when QEMU's user may not open it
        subprocess.run(["mount", "--bind", "/dev/null", "/dev/kvm"], check=True)
    daemons = [subprocess.Popen([name]) for name in ("virtlogd", "libvirtd")]
    yield
    for daemon in reversed(daemons):
        daemon.terminate()
        daemon.wait(timeout=30)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def foreign(system_libvirtd: None, state_dir: Path) -> AsyncIterator[LibvirtHypervisor]:
    async with asyncio.timeout(30):
        while not Path("/run/libvirt/libvirt-sock").exists():
            await asyncio.sleep(0.05)
    driver = LibvirtHypervisor(cloud="scenario", state_dir=state_dir)
    await driver.open()
    yield driver
    assert not await driver.stop_daemon()
    await driver.close()


@pytest.mark.parametrize(("mode", "user"), [(ENTER_ONLY, "libvirt-qemu"), (CLOSED, "root")])
async def test_guests_run_and_the_base_stays_ours(
    foreign: LibvirtHypervisor, state_dir: Path, mode: int, user: str
) -> None:
    for path in (state_dir, *state_dir.parents):
        if path.stat().st_mode & 0o001 == 0:
            path.chmod(ENTER_ONLY)
    directory = state_dir / str(uuid.uuid4())
    directory.mkdir()
    directory.chmod(mode)
    base, disk = directory / "base", directory / "disk"
    base.write_bytes(bytes(MIB))
    base.chmod(0o444)
    await qemu_img.create_overlay(disk, base, "raw", MIB)
    disks = (DiskDefinition(disk, "qcow2", "vda", backing=base),)
    guest = GuestDefinition(str(uuid.uuid4()), 1, "x", 1, 32, directory / "console.log", disks)
    await foreign.define(guest)
    assert (await foreign.start(guest.server_id)).power_state == "running"
    (pid,) = processes_with(f"-uuid {guest.server_id}")
    assert pwd.getpwuid(os.stat(f"/proc/{pid}").st_uid).pw_name == user
    assert (base.stat().st_uid, base.stat().st_mode & 0o777) == (0, 0o444)
    await foreign.undefine(guest.server_id)
    assert processes_with(guest.server_id) == []
