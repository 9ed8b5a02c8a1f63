"""`pileus down --purge`: everything of this cloud off this host. What does not carry our mark is left alone.

Guests end, and their definitions; then the libvirtd that we started, dnsmasqs, namespaces, bridges, taps and rules.
Disks, images and databases stay, so that `pileus up` brings all of it back, unless the state directory goes too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from pileus.cli import daemon, processes
from pileus.cli.layout import Layout
from pileus.kernel.host import dnsmasq, iptables, links, nftables, uplink
from pileus.kernel.host.command import CommandError
from pileus.services import discover
from pileus.services.compute.drivers.hypervisor.interface import HypervisorError
from pileus.services.compute.worker.hooks import taps
from pileus.services.compute.worker.paths import AgentPaths, is_uuid
from pileus.services.network.drivers.namespace_ports import remove_namespace, unwanted
from pileus.verify.installation import Installation

PART_TIMEOUT_S = 180.0  # a libvirtd that must be started first, and the last guest of many
END_TIMEOUT_S = 10.0
POLL_S = 0.05
NAMESPACE_PREFIXES = ("qdhcp-", "qrouter-")
OWN_FILES = ("clouds.yaml", "openrc", "demo_key", "demo_key.pub", "secrets.json", "secrets.lock", "cluster.key")
OWN_DIRECTORIES = ("db", "host", "log", "run")
WARNING = """\
This ends all guests of the cloud in {state_dir} and removes its networks from this host{state}.
Say --yes as well if that is meant."""

Part = Callable[[Installation], Awaitable[list[str]]]
"""Takes one kind of thing off the host; what it removed, for people."""


def purge(layout: Layout, *, with_state: bool, confirmed: bool) -> int:
    """Do it; 1 when something is left."""
    if not confirmed:
        state = ", with all disks, images and databases" if with_state else "; disks, images and databases stay"
        print(WARNING.format(state_dir=layout.state_dir, state=state))
        return 2
    daemon.stop(layout)
    with daemon.only_process(processes.whole(layout)):  # nobody starts it meanwhile; nor is a role of it under way
        lines, failures = asyncio.run(_take_off(Installation(layout.node, layout.tables)))
    for line in lines:
        print(f"removed   {line}")
    for failure in failures:
        print(f"LEFT      {failure}")
    if failures:
        return 1
    if with_state:
        _remove_state(layout)
    print("Nothing of this cloud is left on this host" + (" but its state directory." if not with_state else "."))
    return 0


async def _take_off(installation: Installation) -> tuple[list[str], list[str]]:
    """All parts; a failure of one does not stop the others."""
    parts: list[Part] = []
    if installation.has_real_guests:
        parts += [_guests, _emulators, _taps]
    if installation.has_real_networks:
        parts += [_address_services, _namespaces, _devices, _rules, _uplink, _run_files]
    lines: list[str] = []
    failures: list[str] = []
    for part in parts:
        try:
            async with asyncio.timeout(PART_TIMEOUT_S):
                lines += await part(installation)
        except TimeoutError:
            failures.append(f"{part.__name__.strip('_')}: not within {PART_TIMEOUT_S:g} s")
        except (HypervisorError, CommandError, OSError) as error:
            failures.append(f"{part.__name__.strip('_')}: {error}")
    return lines, failures


async def _guests(installation: Installation) -> list[str]:
    """Guests and their definitions, and the libvirtd that we started unless it has guests of others."""
    from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor  # needs the C library
    from pileus.services.compute.drivers.hypervisor.libvirt.daemon import LibvirtDaemon

    if not _libvirt_knows(installation.guests_dir):
        return []
    driver = LibvirtHypervisor(cloud=installation.node.cloud, state_dir=installation.guests_dir)
    try:
        await driver.open()
        guests = await driver.list_guests()
        for guest in guests:
            await driver.undefine(guest.server_id)
        stopped = await driver.stop_daemon()
        return [f"guest {guest.server_id}" for guest in guests] + ["libvirtd"] * stopped
    except HypervisorError as error:
        failure = error
    finally:
        await driver.close()  # first: it would start another daemon in place of one that ends
    # Guests run on without their daemon; the emulators are next.
    if not await LibvirtDaemon(installation.guests_dir / "libvirt").stop():
        raise failure
    return [f"libvirtd, which was no help: {failure}"]


def _libvirt_knows(guests_dir: Path) -> bool:
    """Whether a libvirtd has to be asked, and if need be started for it: ours runs, or knows guests; or no daemon of
    ours ever was, so that the system's has whatever guests there are."""
    from pileus.services.compute.drivers.hypervisor.libvirt.daemon import LibvirtDaemon

    ours = guests_dir / "libvirt"
    if ours.exists():
        return LibvirtDaemon(ours).pid is not None or any(ours.glob("etc/qemu/*.xml"))
    return any(AgentPaths(guests_dir).instances.glob("*"))


async def _emulators(installation: Installation) -> list[str]:
    """Emulators on disks of ours that no libvirtd knew any more."""
    disks = f"{AgentPaths(installation.guests_dir).instances}/"
    pids = [pid for pid, words in _processes() if "qemu-system" in words[0] and any(disks in word for word in words)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(END_TIMEOUT_S):
        while any(pid in pids for pid, _ in _processes()):
            await asyncio.sleep(POLL_S)
    return [f"emulator {pid}" for pid in pids]


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Pid and command line of every process that has one."""
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if words := Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]:
                yield int(name), words


async def _taps(installation: Installation) -> list[str]:
    found = (await links.list_links()).values()
    return await _delete_links(link.name for link in found if taps.server_of(link.alias, installation.node.cloud))


async def _address_services(installation: Installation) -> list[str]:
    removed = []
    for pid_file, pids in dnsmasq.find_all(installation.dhcp_dir).items():
        await dnsmasq.stop(pid_file)
        for pid in pids:  # one too many, which its file does not name
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        removed.append(f"dnsmasq of {pid_file.parent.name}")
    return removed


async def _namespaces(installation: Installation) -> list[str]:
    names = sorted(name for prefix in NAMESPACE_PREFIXES for name in unwanted(prefix, ()))
    return [f"namespace {name}" for name in names if await remove_namespace(name, installation.ownership)]


async def _devices(installation: Installation) -> list[str]:
    found = (await links.list_links()).values()
    return await _delete_links(link.name for link in found if installation.ownership.owns(link.alias))


async def _delete_links(names: Iterator[str]) -> list[str]:
    removed = []
    for name in names:
        await links.delete_link(name)
        removed.append(f"device {name}")
    return removed


async def _rules(installation: Installation) -> list[str]:
    tag = installation.ownership.tag
    removed = [f"{family} rules" for family in ("ipv4", "ipv6") if await iptables.remove_chains(family, f"{tag}-")]
    if await nftables.list_table("bridge", tag) is not None:
        await nftables.delete_table("bridge", tag)
        removed.append("bridge rules")
    return removed


async def _uplink(installation: Installation) -> list[str]:
    return [f"bridge {name}" for name in await uplink.remove(installation.network.external_bridges)]


async def _run_files(installation: Installation) -> list[str]:
    directory = installation.dhcp_dir
    for entry in directory.iterdir() if directory.exists() else ():
        if is_uuid(entry.name):
            shutil.rmtree(entry)
    for level in (directory, *directory.parents[:2]):  # /run/pileus/<cloud>/dhcp
        try:
            level.rmdir()
        except OSError:
            break
    return []


def _remove_state(layout: Layout) -> None:
    """What the cloud has put into its state directory; the directory itself when nothing else is in it."""
    directories = (*OWN_DIRECTORIES, *(service.type for service in discover()))
    for name in directories:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(layout.state_dir / name)
    for name in OWN_FILES:
        (layout.state_dir / name).unlink(missing_ok=True)
    try:
        layout.state_dir.rmdir()
    except OSError as error:
        print(f"kept      {layout.state_dir}: {error.strerror}")
