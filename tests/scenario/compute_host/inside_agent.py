"""The life of real guests under the agent: built from the guest image, stopped, rebooted, recovered, destroyed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from pileus.kernel.bus.messages import Message
from pileus.kernel.host import links, qemu_img
from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor
from pileus.services.compute.rpc import (
    ConfigDriveFile,
    ConsoleLog,
    DescribeServer,
    DestroyServer,
    FlavorFacts,
    GuestEvent,
    ImageRef,
    Nic,
    PrepareServer,
    RebootServer,
    ServerSpec,
    StartServer,
    StopServer,
)
from pileus.services.compute.worker.agent import ComputeAgent
from pileus.services.compute.worker.config import AgentConfig
from pileus.services.compute.worker.reconcile import Reconciliation
from tests.scenario.compute_host.private_host import GUEST_IMAGE, processes_with

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOOT_S = 90.0
CHUNK_BYTES = 2**18
SILENT_SECTOR = b"\xfa\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa"  # cli; hlt; jmp: a guest that hangs at once


class Images:
    """An image service of files, counting downloads."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self.downloads = 0

    def add(self, path: Path, disk_format: str, **properties: str) -> ImageRef:
        content = path.read_bytes()
        image = ImageRef(
            str(uuid.uuid4()), disk_format, len(content), "sha512", hashlib.sha512(content).hexdigest(), properties
        )
        self.files[image.id] = path
        return image

    async def open(self, image: ImageRef) -> AsyncIterator[bytes]:
        self.downloads += 1
        with self.files[image.id].open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


class Host:
    def __init__(self, directory: Path, hypervisor: LibvirtHypervisor) -> None:
        self.images = Images()
        self.told: list[Message] = []
        self.directory = directory
        self.hypervisor = hypervisor
        self.agent = self.new_agent()

    def new_agent(self) -> ComputeAgent:
        async def notify(message: Message) -> None:
            self.told.append(message)

        return ComputeAgent(
            host="h1", cloud="scenario", directory=self.directory, hypervisor=self.hypervisor, images=self.images.open,
            notify=notify, config=AgentConfig(),
        )

    def events(self, server_id: str) -> list[str]:
        return [each.kind for each in self.told if isinstance(each, GuestEvent) and each.server_id == server_id]

    async def console(self, server_id: str) -> str:
        return (await self.agent.console_log(ConsoleLog(server_id=server_id))).output

    async def booted(self, server_id: str, times: int) -> None:
        """Wait until the login prompt has been shown that many times."""
        async with asyncio.timeout(BOOT_S):
            while (await self.console(server_id)).count("pileus login:") < times:
                await asyncio.sleep(0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(state_dir: Path, hypervisor: LibvirtHypervisor) -> AsyncIterator[Host]:
    made = Host(state_dir, hypervisor)
    await made.agent.open()
    yield made
    for record in made.agent.journal.all():
        await made.agent.destroy(DestroyServer(server_id=record.server_id, generation=10_000))
    await made.agent.boots.close()
    await made.agent.images.close()


def new_spec(image: ImageRef, tap: str, *, root_gib: int = 1, **more) -> ServerSpec:
    server_id = str(uuid.uuid4())
    nics = (Nic(str(uuid.uuid4()), f"fa:16:3e:{server_id[:2]}:{server_id[2:4]}:01", tap, 1450),)
    flavor = FlavorFacts(vcpus=1, ram_mib=128, root_gib=root_gib)
    return ServerSpec(server_id, "<b>web</b>", "p" * 32, flavor, image, nics=nics, **more)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.1)


async def test_life_of_a_real_guest(host: Host) -> None:
    agent = host.agent
    image = host.images.add(GUEST_IMAGE, "qcow2")
    files = (ConfigDriveFile("openstack/latest/meta_data.json", b'{"uuid": "x"}'), ConfigDriveFile("ec2/a/b", b"1"))
    spec = new_spec(image, "tap-life", config_drive=files)
    server_id, paths = spec.server_id, agent.paths.server(spec.server_id)

    # prepare: everything but the guest
    prepared = await agent.prepare(PrepareServer(generation=1, spec=spec))
    assert prepared.fault is None, prepared.fault
    assert (prepared.prepared, prepared.power_state, prepared.root_device) == (True, "stopped", "/dev/vda")
    tap = (await links.list_links())["tap-life"]
    assert (tap.kind, tap.mtu, tap.is_up) == ("tun", 1450, True)
    base = agent.paths.base / agent.images.names()[0]
    untouched = sha256(base)
    assert base.stat().st_mode & 0o777 == 0o444
    disk = await qemu_img.info(paths.root_disk, "qcow2")
    assert (disk.virtual_size, disk.backing_file, disk.backing_format) == (2**30, str(base), "raw")
    read_back = ["mcopy", "-n", "-i", str(paths.config_drive), "::openstack/latest/meta_data.json", "-"]
    assert subprocess.run(read_back, capture_output=True, check=True, timeout=10).stdout == b'{"uuid": "x"}'

    # start: the console speaks, the guest writes to its own disk only
    started = await agent.start(StartServer(server_id=server_id, generation=1))
    assert (started.power_state, started.fault) == ("running", None)
    await host.booted(server_id, 1)
    assert "Linux version" in await host.console(server_id)
    assert (await links.list_links())["tap-life"].has_carrier
    running = await qemu_img.info(paths.root_disk, "qcow2", in_use=True)
    assert running.actual_size > disk.actual_size
    assert sha256(base) == untouched

    # soft reboot: the guest itself shuts down, and boots again
    soft = RebootServer(server_id=server_id, generation=2, reboot_type="SOFT", soft_timeout_s=60)
    assert (await agent.reboot(soft)).power_state == "running"
    assert "reboot: Power down" in await host.console(server_id)
    await host.booted(server_id, 2)

    # the agent dies and comes back: the guest never noticed
    (pid,) = processes_with(f"-uuid {server_id}")
    await agent.boots.close()
    host.agent = agent = host.new_agent()
    await agent.open()
    reconciliation = Reconciliation(agent)
    await reconciliation.recover()
    assert processes_with(f"-uuid {server_id}") == [pid]
    assert host.events(server_id) == []

    # power loss: the guest's process is gone without a word when the agent comes back
    await agent.boots.close()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not Path(f"/proc/{pid}").exists())
    await links.delete_link("tap-life")
    host.agent = agent = host.new_agent()
    await agent.open()
    await Reconciliation(agent).recover()
    assert host.events(server_id) == ["started"]
    assert "tap-life" in await links.list_links()
    assert len(processes_with(f"-uuid {server_id}")) == 1

    # hard stop, hard reboot of a stopped server
    stopped = await agent.stop(StopServer(server_id=server_id, generation=3, soft_timeout_s=0))
    assert stopped.power_state == "stopped"
    assert processes_with(f"-uuid {server_id}") == []
    hard = RebootServer(server_id=server_id, generation=4, reboot_type="HARD")
    assert (await agent.reboot(hard)).power_state == "running"

    # destroy: no process, tap or file
    gone = await agent.destroy(DestroyServer(server_id=server_id, generation=5))
    assert (gone.fault, gone.power_state) == (None, "absent")
    assert processes_with(server_id) == []
    assert "tap-life" not in await links.list_links()
    assert not paths.directory.exists()
    assert not list(Path("/var/log/libvirt").rglob(f"*{server_id[:13]}*"))
    assert await host.hypervisor.inspect(server_id) is None
    assert sha256(base) == untouched
    assert agent.images.expire((), 0.0) == (base.name,)
    assert list(agent.paths.base.iterdir()) == []


async def test_one_download_serves_many_and_soft_stop_works(host: Host) -> None:
    agent, downloads = host.agent, host.images.downloads
    image = host.images.add(GUEST_IMAGE, "qcow2")
    specs = [new_spec(image, f"tap-many-{number}", root_gib=0) for number in range(3)]
    reports = await asyncio.gather(*(agent.prepare(PrepareServer(generation=1, spec=spec)) for spec in specs))
    assert [report.fault for report in reports] == [None] * 3
    assert host.images.downloads == downloads + 1
    for spec in specs:
        disk = await qemu_img.info(agent.paths.server(spec.server_id).root_disk, "qcow2")
        assert disk.virtual_size == 128 * 2**20
    one = specs[0].server_id
    await agent.start(StartServer(server_id=one, generation=1))
    await host.booted(one, 1)
    stopped = await agent.stop(StopServer(server_id=one, generation=2, soft_timeout_s=60))
    assert stopped.power_state == "stopped"
    assert "reboot: Power down" in await host.console(one)
    for spec in specs:
        assert (await agent.destroy(DestroyServer(server_id=spec.server_id, generation=3))).fault is None
    assert not [name for name in await links.list_links() if name.startswith("tap-")]


async def test_a_guest_that_hangs_silently_is_restarted_once_then_stopped(host: Host, tmp_path: Path) -> None:
    disk = tmp_path / "hang.raw"
    disk.write_bytes(SILENT_SECTOR.ljust(2**20, b"\0"))
    spec = new_spec(host.images.add(disk, "raw", pileus_silent_boot_s="3"), "tap-hang")
    await host.agent.prepare(PrepareServer(generation=1, spec=spec))
    assert (await host.agent.start(StartServer(server_id=spec.server_id, generation=1))).power_state == "running"
    await until(lambda: host.events(spec.server_id) == ["boot_restarted", "boot_failed"])
    assert processes_with(f"-uuid {spec.server_id}") == []
    report = await host.agent.describe(DescribeServer(server_id=spec.server_id))
    assert report.fault is not None
    assert (report.power_state, report.fault.code) == ("stopped", "boot_silent")
    await host.agent.destroy(DestroyServer(server_id=spec.server_id, generation=2))


async def test_images_that_lie_never_reach_a_tool(host: Host, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's secret")
    evil = tmp_path / "evil.qcow2"
    make = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(secret), str(evil), "1M"]
    subprocess.run(make, check=True, timeout=30)
    big = tmp_path / "big.qcow2"
    await qemu_img.create(big, 3 * 2**30)
    cases = (("qcow2", evil, "image_unsafe"), ("raw", evil, "image_unsafe"), ("qcow2", big, "image_too_big"))
    for disk_format, path, code in cases:
        spec = new_spec(host.images.add(path, disk_format), "tap-evil")
        report = await host.agent.prepare(PrepareServer(generation=1, spec=spec))
        assert report.fault is not None
        assert report.fault.code == code
        assert not host.agent.paths.server(spec.server_id).directory.exists()
    assert "tap-evil" not in await links.list_links()


async def test_a_kernel_of_its_own_on_q35_with_local_disks(host: Host, tmp_path: Path) -> None:
    raw = tmp_path / "guest.raw"
    await qemu_img.convert(GUEST_IMAGE, "qcow2", raw, "raw")
    for name in ("vmlinuz", "initrd"):
        subprocess.run(["mcopy", "-i", f"{raw}@@1M", f"::{name}", str(tmp_path / name)], check=True, timeout=30)
    spec = new_spec(
        host.images.add(raw, "raw", hw_machine_type="pc-q35-7.2"), "tap-kernel",
        kernel=host.images.add(tmp_path / "vmlinuz", "aki"), ramdisk=host.images.add(tmp_path / "initrd", "ari"),
        kernel_cmdline="console=ttyS0 pileus.test=yes",
    )
    spec = msgspec.structs.replace(spec, flavor=FlavorFacts(1, 128, root_gib=1, ephemeral_gib=1, swap_mib=16))
    prepared = await host.agent.prepare(PrepareServer(generation=1, spec=spec))
    assert prepared.fault is None, prepared.fault
    await host.agent.start(StartServer(server_id=spec.server_id, generation=1))
    await host.booted(spec.server_id, 1)
    text = await host.console(spec.server_id)
    assert "pileus.test=yes" in text
    for device, size in (("vda", "1.07 GB"), ("vdb", "1.07 GB"), ("vdc", "16.8 MB")):
        assert any(f"[{device}]" in line and size in line for line in text.splitlines()), (device, text)
    await host.agent.destroy(DestroyServer(server_id=spec.server_id, generation=2))
    assert processes_with(spec.server_id) == []


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.2, 0.5])
async def test_a_destroy_during_the_start_leaves_nothing(host: Host, tmp_path: Path, delay_s: float) -> None:
    disk = tmp_path / "hang.raw"
    disk.write_bytes(SILENT_SECTOR.ljust(2**20, b"\0"))
    spec = new_spec(host.images.add(disk, "raw"), "tap-gone")
    await host.agent.prepare(PrepareServer(generation=1, spec=spec))
    starting = asyncio.create_task(host.agent.start(StartServer(server_id=spec.server_id, generation=1)))
    await asyncio.sleep(delay_s)  # the moment of the start at which the destroy comes is what is tested
    gone = await host.agent.destroy(DestroyServer(server_id=spec.server_id, generation=2))
    assert gone.fault is None
    await starting
    assert processes_with(spec.server_id) == []
    assert await host.hypervisor.inspect(spec.server_id) is None
    assert "tap-gone" not in await links.list_links()
    assert not host.agent.boots.under_way(spec.server_id)
