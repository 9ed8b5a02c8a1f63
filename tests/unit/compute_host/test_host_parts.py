"""Smaller promises of the host side: disks, config drive, console logs, domain XML, hanging calls, the KVM probe."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
import time
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pileus.kernel.host import qemu_img
from pileus.kernel.host.command import CommandError
from pileus.services.compute.drivers.hypervisor.interface import (
    DirectBoot,
    DiskDefinition,
    GuestDefinition,
    HypervisorTimeout,
    NicDefinition,
)
from pileus.services.compute.drivers.hypervisor.libvirt import domain_xml, kvm_probe
from pileus.services.compute.drivers.hypervisor.libvirt.calls import MAX_HUNG_CALLS, CallPool
from pileus.services.compute.rpc import ConfigDriveFile, FlavorFacts, ServerSpec
from pileus.services.compute.worker import console
from pileus.services.compute.worker.build import Build
from pileus.services.compute.worker.faults import ServerFault
from pileus.services.compute.worker.hooks.config_drive import ConfigDrive
from pileus.services.compute.worker.hooks.local_disks import LocalDisks
from pileus.services.compute.worker.paths import AgentPaths

MIB = 2**20


def _bytes_of(path: Path, offset: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(count)


def new_build(directory: Path, spec: ServerSpec) -> Build:
    paths = AgentPaths(directory)
    paths.make()
    server = paths.server(spec.server_id)
    server.directory.mkdir()
    return Build("test", 1, spec, server, None, None)  # type: ignore[arg-type] - hooks under test use neither


# --- qemu-img -----------------------------------------------------------------------------------------------


async def test_a_guests_header_in_its_raw_disk_is_never_believed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"the host's secret".ljust(MIB, b"\0"))
    header = tmp_path / "header"
    make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(header), "1M"]
    subprocess.run(make, check=True, timeout=30)
    disk = tmp_path / "disk"
    disk.write_bytes(header.read_bytes().ljust(2 * MIB, b"\0"))
    assert (await qemu_img.info(disk, "raw")).backing_file is None
    await qemu_img.resize(disk, "raw", 4 * MIB)
    await qemu_img.convert(disk, "raw", tmp_path / "copy", "raw")
    assert b"secret" not in (tmp_path / "copy").read_bytes()[4096:]
    with pytest.raises(CommandError):
        await qemu_img.info(secret, "qcow2")


async def test_file_names_cannot_become_protocols(tmp_path: Path) -> None:
    for name in ("nbd://127.0.0.1/x", "json:{}", "relative"):
        with pytest.raises(ValueError, match="absolute"):
            await qemu_img.info(Path(name), "raw")


# --- hooks --------------------------------------------------------------------------------------------------


async def test_the_config_drive_holds_the_files_and_is_labelled(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10
    files = (ConfigDriveFile("openstack/latest/user_data", data), ConfigDriveFile("openstack/content/0000", b"x"))
    spec = ServerSpec(str(uuid.uuid4()), "a", "p", FlavorFacts(1, 64), config_drive=files)
    build, hook = new_build(tmp_path, spec), ConfigDrive()
    await hook.apply(build)
    drive = str(build.paths.config_drive)
    read = ["mcopy", "-n", "-i", drive, "::openstack/latest/user_data", "-"]
    assert subprocess.run(read, check=True, capture_output=True, timeout=10).stdout == data
    blkid = shutil.which("blkid") or "/sbin/blkid"
    label = subprocess.run([blkid, "-p", "-s", "LABEL", "-o", "value", drive], capture_output=True, timeout=10)
    assert label.stdout.strip() == b"config-2"
    await hook.undo(build)
    await hook.undo(build)
    assert list(build.paths.directory.iterdir()) == []


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "", "a\\b", "a/\x00b"])
async def test_config_drive_paths_stay_inside(tmp_path: Path, path: str) -> None:
    spec = ServerSpec(str(uuid.uuid4()), "a", "p", FlavorFacts(1, 64), config_drive=(ConfigDriveFile(path, b"x"),))
    build = new_build(tmp_path, spec)
    with pytest.raises(ServerFault):
        await ConfigDrive().apply(build)
    assert list(build.paths.directory.iterdir()) == []


async def test_ephemeral_and_swap_disks_are_formatted_and_sparse(tmp_path: Path) -> None:
    spec = ServerSpec(str(uuid.uuid4()), "a", "p", FlavorFacts(1, 64, ephemeral_gib=1, swap_mib=64))
    build, hook = new_build(tmp_path, spec), LocalDisks()
    await hook.apply(build)
    await hook.apply(build)
    ephemeral, swap = build.paths.ephemeral_disk, build.paths.swap_disk
    assert ephemeral.stat().st_size == 1024 * MIB
    assert ephemeral.stat().st_blocks * 512 < 100 * MIB
    assert _bytes_of(ephemeral, 1080, 2) == b"\x53\xef"  # ext4's magic number
    assert _bytes_of(swap, 4086, 10) == b"SWAPSPACE2"
    await hook.undo(build)
    assert list(build.paths.directory.iterdir()) == []


# --- console ------------------------------------------------------------------------------------------------


def test_the_console_log_is_bounded_while_the_writer_keeps_it_open(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    assert console.tail(log, 10) == ""
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old line\n" * 100_000)
        assert console.bound(log)
        assert console.size(log) == 0
        writer.write(b"new \xff line\n")
        assert console.size(log) == 11
    assert console.tail(log, 2) == "old line\nnew � line\n"
    assert console.tail(log, 0) == ""
    assert len(console.tail(log, None).encode()) <= console.KEPT_BYTES + 2
    assert not console.bound(log)


# --- domain XML ---------------------------------------------------------------------------------------------


def guest(**changes) -> GuestDefinition:
    disk = DiskDefinition(Path("/i/disk"), "qcow2", "vda", backing=Path("/i/_base/x"))
    values = {
        "server_id": str(uuid.uuid4()), "generation": 3, "title": "t", "vcpus": 2, "ram_mib": 64,
        "console_log": Path("/i/console.log"), "disks": (disk,),
    }
    return GuestDefinition(**{**values, **changes})


def test_names_cannot_become_markup() -> None:
    hostile = '</title><devices><disk type="file"><source file="/etc/shadow"/></disk></devices>\x00\x1b[31m'
    nic = NicDefinition("tap0", 'fa"/><hostdev/>', 1500)
    xml = domain_xml.domain_xml(guest(title=hostile, nics=(nic,)), cloud='c"&<', accelerated=False)
    tree = ET.fromstring(xml)
    assert [source.get("file") for source in tree.findall(".//disk/source")] == ["/i/disk"]
    assert tree.find(".//hostdev") is None
    assert domain_xml.our_metadata(xml, 'c"&<') == 3
    assert domain_xml.our_metadata(xml, "other") is None
    assert domain_xml.our_metadata("<domain/>", "c") is None


def test_acceleration_decides_type_and_processor() -> None:
    direct = DirectBoot(Path("/i/_base/k"), Path("/i/_base/r"), "root=/dev/vda")
    emulated = ET.fromstring(domain_xml.domain_xml(guest(direct_boot=direct), cloud="c", accelerated=False))
    assert (emulated.get("type"), emulated.find("cpu").get("mode")) == ("qemu", "maximum")
    assert emulated.findtext("./features/tcg/tb-cache") == "32"
    assert "tsc=reliable" in emulated.findtext("./os/cmdline")
    fast = ET.fromstring(domain_xml.domain_xml(guest(direct_boot=direct), cloud="c", accelerated=True))
    assert (fast.get("type"), fast.find("cpu").get("mode")) == ("kvm", "host-passthrough")
    assert fast.findtext("./os/cmdline") == "root=/dev/vda"


# --- calls with deadlines -----------------------------------------------------------------------------------


async def test_a_hanging_call_does_not_hang_the_agent() -> None:
    pool, release = CallPool("test"), threading.Event()
    begun = time.monotonic()
    with pytest.raises(HypervisorTimeout):
        await pool.call(lambda: release.wait(30), timeout_s=0.1, what="hang")
    assert time.monotonic() - begun < 5
    assert pool.hung_calls == 1
    assert await pool.call(lambda: 42, timeout_s=5, what="answer") == 42
    hanging = (pool.call(lambda: release.wait(30), timeout_s=0.2, what="hang") for _ in range(MAX_HUNG_CALLS * 2))
    await asyncio.gather(*hanging, return_exceptions=True)
    async with asyncio.timeout(10):
        while pool.hung_calls < MAX_HUNG_CALLS:
            await asyncio.gather(
                *(pool.call(lambda: release.wait(30), timeout_s=0.2, what="hang") for _ in range(4)),
                return_exceptions=True,
            )
    begun = time.monotonic()
    with pytest.raises(HypervisorTimeout, match="still hang"):
        await pool.call(lambda: 42, timeout_s=5, what="too many")
    assert time.monotonic() - begun < 1
    release.set()
    async with asyncio.timeout(10):
        while pool.hung_calls:
            await asyncio.sleep(0.01)
    assert await pool.call(lambda: 42, timeout_s=5, what="answer") == 42
    pool.close()


async def test_a_cancelled_caller_waits_until_its_call_has_come_back() -> None:
    pool, started, release, finished = CallPool("test"), threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        release.wait(30)
        finished.set()

    caller = asyncio.create_task(pool.call(work, timeout_s=30, what="start"))
    assert await asyncio.to_thread(started.wait, 10)
    caller.cancel()
    await asyncio.sleep(0.05)
    assert not caller.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert finished.is_set()
    pool.close()


async def test_a_call_that_returns_at_its_deadline_is_not_counted_as_hung() -> None:
    pool = CallPool("test")
    for _ in range(20):
        returned = threading.Event()
        call = asyncio.create_task(pool.call(returned.set, timeout_s=0.01, what="quick"))
        await asyncio.sleep(0)
        returned.wait(10)
        time.sleep(0.02)  # the loop stands still: deadline and answer are both there when it looks
        await asyncio.gather(call, return_exceptions=True)
        assert pool.hung_calls == 0
    pool.close()


async def test_a_caller_that_is_cancelled_twice_leaves_a_hung_call_counted_until_it_returns() -> None:
    pool, release = CallPool("test"), threading.Event()
    caller = asyncio.create_task(pool.call(lambda: release.wait(30), timeout_s=30, what="hang"))
    await asyncio.sleep(0.05)
    for _ in range(2):
        caller.cancel()
        await asyncio.sleep(0.05)
    assert caller.cancelled()
    assert pool.hung_calls == 1
    release.set()
    async with asyncio.timeout(10):
        while pool.hung_calls:
            await asyncio.sleep(0.01)
    pool.close()


async def test_errors_of_calls_reach_the_caller() -> None:
    pool = CallPool("test")
    with pytest.raises(ZeroDivisionError):
        await pool.call(lambda: 1 // 0, timeout_s=5, what="divide")
    pool.close()


# --- KVM probe ----------------------------------------------------------------------------------------------

needs_qemu = pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")


@needs_qemu
async def test_the_probe_payload_runs_where_guests_run() -> None:
    assert len(kvm_probe.BOOT_SECTOR) == 512
    assert await kvm_probe.probe("tcg", "max", timeout_s=20) is None


@needs_qemu
async def test_the_probe_notices_a_guest_that_does_not_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm_probe, "BOOT_SECTOR", b"\xfa\xf4".ljust(510, b"\0") + b"\x55\xaa")  # cli; hlt
    failure = await kvm_probe.probe("tcg", "max", timeout_s=1.0)
    assert failure is not None
    assert "did not finish" in failure


@needs_qemu
async def test_the_answer_is_kept_for_this_boot_and_says_why(tmp_path: Path) -> None:
    kept = tmp_path / "kvm.json"
    begun = time.monotonic()
    first = await kvm_probe.find_acceleration(kept)
    assert time.monotonic() - begun < 10
    assert first.reason
    assert await kvm_probe.find_acceleration(kept) == first
    if Path("/dev/kvm").exists():
        text = kept.read_text()
        kept.write_text(text.replace("tcg", "kvm", 1) if first.kind == "tcg" else text)
        assert (await kvm_probe.find_acceleration(kept)).kind == "kvm"
        kept.write_text("broken")
        assert (await kvm_probe.find_acceleration(kept)).kind == first.kind
