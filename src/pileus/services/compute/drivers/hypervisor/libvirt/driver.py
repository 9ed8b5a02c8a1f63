"""Guests on QEMU through libvirt's qemu:///system."""

from __future__ import annotations

import asyncio
import logging
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import libvirt

from pileus.kernel.host.command import CommandError
from pileus.services.compute.drivers.hypervisor.interface import (
    GuestDefinition,
    GuestNotFound,
    GuestState,
    HostFacts,
    HypervisorError,
    HypervisorTimeout,
    instance_name,
)
from pileus.services.compute.drivers.hypervisor.libvirt import domain_xml, kvm_probe
from pileus.services.compute.drivers.hypervisor.libvirt.connection import CALL_TIMEOUT_S, LibvirtConnection
from pileus.services.compute.drivers.hypervisor.libvirt.daemon import LibvirtDaemon
from pileus.services.compute.rpc import Acceleration, CpuInfo, PowerState

log = logging.getLogger(__name__)
T = TypeVar("T")

URI: Final = "qemu:///system"
FIRST_ANSWER_TIMEOUT_S: Final = 120.0  # a fresh libvirtd runs every emulator to learn what it can do
BUTTON_TIMEOUT_S: Final = 10.0
BUTTONS_AT_ONCE: Final = 3
"""As many calls may hang at emulators that do not listen. A libvirtd has five workers to begin with; when all of them
hang it can fail to start another, though it may have more, and then serves nobody until one comes back."""
DEFINE_TIMEOUT_S: Final = 60.0  # libvirtd may run the emulator again, to see what it can do
START_TIMEOUT_S: Final = 60.0
LIST_TIMEOUT_S: Final = 45.0  # a guest that is being ended by force cannot be looked at meanwhile
POWER_OFF_TIMEOUT_S: Final = 45.0  # libvirt itself waits up to 30 s between TERM and giving up after KILL
_QEMU_LOGS: Final = Path("/var/log/libvirt/qemu")  # libvirt writes one per guest and deletes none

_UNDEFINE_FLAGS: Final = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
_POWER_STATES: Final[dict[int, PowerState]] = {
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "running",
    libvirt.VIR_DOMAIN_SHUTDOWN: "running",  # on its way down, not there yet
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "paused",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_SHUTOFF: "stopped",
}
_CLEAN_STOPS: Final = frozenset({libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED})
_CRASHES: Final = frozenset({libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF_FAILED})


class LibvirtHypervisor:
    """See `interface.Hypervisor`. `state_dir` holds what concerns our own libvirtd and the answer of the KVM
    probe."""

    def __init__(self, *, cloud: str, state_dir: Path, uri: str = URI) -> None:
        self._cloud = cloud
        self._state_dir = state_dir
        self._daemon = LibvirtDaemon(state_dir / "libvirt")
        self._connection = LibvirtConnection(uri, self._daemon)
        self._call = self._connection.call
        self._acceleration = Acceleration("none", "not probed yet")
        self._facts: HostFacts | None = None
        self._buttons = asyncio.Semaphore(BUTTONS_AT_ONCE)
        self._pressing: set[asyncio.Task[None]] = set()

    # -- connection ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        try:
            self._acceleration = await kvm_probe.find_acceleration(self._state_dir / "kvm-probe.json")
        except CommandError as error:
            raise HypervisorError(f"QEMU cannot be run: {error}") from error
        await self._connection.connect()
        await self.host_facts()

    async def close(self) -> None:
        for pressing in self._pressing:
            pressing.cancel()
        await self._connection.close()

    async def stop_daemon(self) -> bool:
        """See `interface.OwnsDaemon`. Close the driver afterwards."""
        if self._daemon.pid is None:
            return False
        guests = await self._call("list", lambda conn: conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE))
        if guests:
            return False
        self._connection.forget()
        return await self._daemon.stop()

    # -- host ------------------------------------------------------------------------------------------------

    async def host_facts(self) -> HostFacts:
        def read(conn: libvirt.virConnect) -> HostFacts:
            _, _, cpus, _, _, sockets, cores, threads = conn.getInfo()
            # libvirt adds up NUMA nodes, and misses memory that was added to a running machine
            memory_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
            cpu = _cpu_info(conn.getCapabilities(), sockets, cores, threads)
            return HostFacts(
                "QEMU", conn.getVersion(), int(cpus), memory_mib, cpu, self._acceleration
            )

        if self._facts is None:  # none of them changes while a host is up, and the capabilities are long to read
            self._facts = await self._call("host facts", read, FIRST_ANSWER_TIMEOUT_S)
        return self._facts

    # -- guests ----------------------------------------------------------------------------------------------

    async def define(self, guest: GuestDefinition) -> GuestState:
        as_root = self._daemon.pid is None and not _others_may_enter(guest.disks[0].path.parent)
        xml = domain_xml.domain_xml(
            guest, cloud=self._cloud, accelerated=self._acceleration.kind == "kvm", as_root=as_root
        )

        def define(conn: libvirt.virConnect) -> GuestState:
            try:
                existing = conn.lookupByUUIDString(guest.server_id)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
            else:
                self._own(existing)
            return self._state(conn.defineXML(xml))

        return await self._call("define", define, DEFINE_TIMEOUT_S)

    async def start(self, server_id: str) -> GuestState:
        def start(domain: libvirt.virDomain) -> GuestState:
            if not domain.isActive():
                _unless_running(domain, domain.create)
            elif domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                _unless_running(domain, domain.resume)
            return self._state(domain)

        return await self._on_guest("start", server_id, start, START_TIMEOUT_S)

    async def press_power_button(self, server_id: str) -> None:
        def press(domain: libvirt.virDomain) -> None:
            if domain.isActive():
                _unless_inactive(lambda: domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN))

        try:
            async with asyncio.timeout(BUTTON_TIMEOUT_S):
                await self._buttons.acquire()
        except TimeoutError:
            raise HypervisorTimeout(f"power button {server_id}: those of {BUTTONS_AT_ONCE} others hang") from None
        pressing = asyncio.create_task(self._on_guest("power button", server_id, press, None))
        self._pressing.add(pressing)
        pressing.add_done_callback(self._pressed)
        await asyncio.wait({pressing}, timeout=BUTTON_TIMEOUT_S)
        if not pressing.done():
            raise HypervisorTimeout(f"power button {server_id}: no answer within {BUTTON_TIMEOUT_S:g} s")
        pressing.result()

    def _pressed(self, pressing: asyncio.Task[None]) -> None:
        """The call has come back, whether somebody still waits for it or not."""
        self._pressing.discard(pressing)
        self._buttons.release()
        if not pressing.cancelled():
            pressing.exception()

    async def power_off(self, server_id: str) -> None:
        await self._on_guest("power off", server_id, _destroy, POWER_OFF_TIMEOUT_S)

    async def undefine(self, server_id: str) -> None:
        def undefine(domain: libvirt.virDomain) -> None:
            _destroy(domain)
            domain.undefineFlags(_UNDEFINE_FLAGS)
            for path in _QEMU_LOGS.glob(f"{instance_name(server_id)}.log*"):
                path.unlink(missing_ok=True)

        try:
            await self._on_guest("undefine", server_id, undefine, POWER_OFF_TIMEOUT_S)
        except GuestNotFound:
            return

    async def inspect(self, server_id: str) -> GuestState | None:
        try:
            return await self._on_guest("inspect", server_id, self._state)
        except GuestNotFound:
            return None

    async def list_guests(self) -> tuple[GuestState, ...]:
        def read(conn: libvirt.virConnect) -> tuple[GuestState, ...]:
            found = []
            for domain in conn.listAllDomains(0):
                try:
                    found.append(self._state(domain))
                except GuestNotFound:
                    continue  # another's guest
                except libvirt.libvirtError as error:
                    if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # gone since it was listed
                        raise
            return tuple(found)

        return await self._call("list", read, LIST_TIMEOUT_S)

    async def _on_guest(
        self, what: str, server_id: str, work: Callable[[libvirt.virDomain], T],
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> T:  # fmt: skip
        def run(conn: libvirt.virConnect) -> T:
            domain = conn.lookupByUUIDString(server_id)
            self._own(domain)
            return work(domain)

        return await self._call(f"{what} {server_id}", run, timeout_s)

    def _own(self, domain: libvirt.virDomain) -> tuple[str, int]:
        """The domain's XML and generation. Raises GuestNotFound for a domain that is not of this cloud."""
        xml = domain.XMLDesc(0)
        generation = domain_xml.our_metadata(xml, self._cloud)
        if generation is None:
            raise GuestNotFound(f"{domain.UUIDString()} is not a guest of {self._cloud}")
        return xml, generation

    def _state(self, domain: libvirt.virDomain) -> GuestState:
        xml, generation = self._own(domain)
        state, reason = domain.state()
        power = _POWER_STATES.get(state, "stopped")
        if power == "stopped" and reason in _CRASHES:
            power = "crashed"
        server_id = domain.UUIDString()
        clean = state == libvirt.VIR_DOMAIN_SHUTOFF and reason in _CLEAN_STOPS
        port = domain_xml.vnc_port(xml) if power == "running" else None
        return GuestState(server_id, instance_name(server_id), generation, power, clean, port)


def _unless_running(domain: libvirt.virDomain, call: Callable[[], object]) -> None:
    try:
        call()
    except libvirt.libvirtError as error:
        # Libvirtd goes on with the call of a process that was killed: it may have come first.
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not domain.isActive():
            raise


def _destroy(domain: libvirt.virDomain) -> None:
    if domain.isActive():
        _unless_inactive(domain.destroy)


def _unless_inactive(call: Callable[[], object]) -> None:
    """Make a call that is only possible on a running guest; that it stopped meanwhile is fine."""
    try:
        call()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise


def _cpu_info(capabilities: str, sockets: int, cores: int, threads: int) -> CpuInfo:
    cpu = ET.fromstring(capabilities).find("./host/cpu")  # noqa: S314 - libvirt wrote it
    if cpu is None:
        return CpuInfo("x86_64", "unknown", "unknown", sockets, cores, threads)
    features = tuple(sorted(feature.get("name", "") for feature in cpu.findall("feature")))
    texts = {name: cpu.findtext(name, "unknown") for name in ("arch", "model", "vendor")}
    return CpuInfo(texts["arch"], texts["model"], texts["vendor"], sockets, cores, threads, features)


def _others_may_enter(directory: Path) -> bool:
    """Whether an unprivileged user can reach files in the directory."""
    return all(path.stat().st_mode & 0o001 for path in (directory, *directory.parents))
