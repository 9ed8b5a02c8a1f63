"""The DHCP driver: one namespace and one dnsmasq per network."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from pileus.kernel.host import dnsmasq, ethernet, links
from pileus.kernel.host.command import run
from pileus.kernel.host.links import Link
from pileus.kernel.host.process_watch import ProcessWatch
from pileus.services.network.drivers.namespace_ports import (
    NamespacePort,
    PortError,
    ensure_namespace,
    ensure_ports,
    remove_namespace,
    unwanted,
)
from pileus.services.network.drivers.ownership import Ownership
from pileus.services.network.drivers.recent import DETAIL_INTERVAL_S, RecentlyRight
from pileus.services.network.drivers.side_by_side import Failed, SideBySide
from pileus.services.network.rpc import DhcpNetwork, DhcpReport, HostDhcp

from . import leases
from .files import METADATA_CIDR, Files, Paths, command_line, known_options, render_files, served_subnets

NAMESPACE_PREFIX = "qdhcp-"
SHORT_LIFE_S = 3.0  # a dnsmasq that ends so soon after its start will do so again: no reason to hurry
LAST_WORDS_BYTES = 400
log = logging.getLogger(__name__)


class DnsmasqSettings(Struct, frozen=True, kw_only=True):
    """`run_dir`: files of the running dnsmasqs (gone after a reboot is fine); dnsmasq must be able to read there as
    `user`, so every directory above needs its x bit for others. dnsmasq itself runs without privileges."""

    cloud: str = "pileus"
    run_dir: str = "/run/pileus/dhcp"
    user: str = "nobody"
    detail_interval_s: float = DETAIL_INTERVAL_S


def namespace_of(network_id: str) -> str:
    """The namespace of a network's DHCP service."""
    return f"{NAMESPACE_PREFIX}{network_id}"


class DnsmasqDriver:
    """See `DhcpDriver`."""

    def __init__(self, settings: DnsmasqSettings) -> None:
        self._settings = settings
        self._ownership = Ownership(settings.cloud)
        self._run_dir = Path(settings.run_dir)
        # Of the network only what its namespace needs: new hosts come often and change none of it.
        self._recent: RecentlyRight[NamespacePort] = RecentlyRight(settings.detail_interval_s)
        self._side_by_side: SideBySide[DhcpNetwork | None, str] = SideBySide(self._look_after)
        self._options: tuple[frozenset[str], frozenset[str]] | None = None
        self._processes = ProcessWatch(lambda: None)
        self._outside: Mapping[str, Link] = {}
        self._made_before: frozenset[str] = frozenset()
        self._pids: dict[str, int] = {}
        self._started_at: dict[str, float] = {}
        self._next_search = 0.0

    async def start(self, changed: Callable[[], None], last: HostDhcp | None) -> None:
        self._made_before = frozenset(network.id for network in last.networks) if last is not None else frozenset()
        self._side_by_side.start(changed)
        self._processes = ProcessWatch(changed)

    async def close(self) -> None:
        await self._side_by_side.close()
        self._processes.close()

    def configurations(self) -> dict[str, Any]:
        return {"dhcp_driver": "dnsmasq", "dhcp_lease_duration": 86400}

    async def apply(self, desired: HostDhcp) -> tuple[DhcpReport, ...]:
        _make_readable(self._run_dir)
        wanted = {network.id: network for network in desired.networks}
        self._outside = await links.list_links()
        await self._end_strays(set(wanted))
        items: dict[str, DhcpNetwork | None] = dict.fromkeys(self._left_over(set(wanted)))
        outcomes = await self._side_by_side.run(items | wanted)
        self._processes.keep(self._pids.values())
        return tuple(_report(network, outcomes[key]) for key, network in wanted.items() if key in outcomes)

    def _left_over(self, wanted: set[str]) -> set[str]:
        """Networks that have a namespace or files and should not."""
        namespaces = unwanted(NAMESPACE_PREFIX, map(namespace_of, wanted))
        return ({name.removeprefix(NAMESPACE_PREFIX) for name in namespaces} | set(os.listdir(self._run_dir))) - wanted

    async def _end_strays(self, wanted: set[str]) -> None:
        """End the dnsmasqs of ours that no pid file leads to. Looking through all processes is done now and then."""
        if time.monotonic() < self._next_search:
            return
        for pid_file, pids in dnsmasq.find_all(self._run_dir).items():
            if pid_file.parent.name in self._side_by_side.in_hand:
                continue  # it may be about to write its pid file
            right = dnsmasq.find_running(pid_file) if pid_file.parent.name in wanted else None
            for pid in set(pids) - {right}:
                log.info("dnsmasq %d of %s is one too many", pid, pid_file.parent)
                await dnsmasq.end(pid)
        self._next_search = time.monotonic() + self._settings.detail_interval_s

    async def _look_after(self, network_id: str, network: DhcpNetwork | None) -> str:
        """Build one network's service, or remove it (None). Returns a remark for people ("" mostly)."""
        return await self._remove(network_id) if network is None else await self._build(network)

    async def _remove(self, network_id: str) -> str:
        namespace = namespace_of(network_id)
        self._recent.forget(namespace)
        self._pids.pop(network_id, None)
        await dnsmasq.stop(self._run_dir / network_id / "pid")
        shutil.rmtree(self._run_dir / network_id, ignore_errors=True)
        await remove_namespace(namespace, self._ownership, is_known=network_id in self._made_before)
        return ""

    async def _build(self, network: DhcpNetwork) -> str:
        namespace = namespace_of(network.id)
        port = _port_of(network)
        is_detailed = not self._recent.is_right(namespace, port, [port.outer], self._outside)
        if is_detailed:
            self._recent.forget(namespace)
            await ensure_namespace(namespace, self._ownership)
            if await ensure_ports(namespace, (port,), self._ownership):
                await ethernet.disable_tx_checksum_offload(port.inner, namespace)
        paths = Paths(self._run_dir / network.id)
        if not served_subnets(network):
            await dnsmasq.stop(paths.of("pid"))
            self._pids.pop(network.id, None)
            self._recent.note(namespace, port)
            return ""
        _make_readable(paths.directory)
        files = render_files(network, *await self._known_options())
        changed = _write_files(files, paths)
        argv = command_line(network, port.inner, paths, self._settings.user)
        await self._keep_running(network, argv, files, changed=changed, is_detailed=is_detailed)
        if left := leases.left_over(_read(paths.of("leases")), files.hosts):
            await leases.release(network, left, link=port.inner, namespace=namespace)
        if is_detailed:
            self._recent.note(namespace, port)
        for problem in files.problems:
            log.warning("network %s: %s", network.id, problem)
        return "; ".join(files.problems)

    async def _known_options(self) -> tuple[frozenset[str], frozenset[str]]:
        """The names of DHCPv4 and DHCPv6 options that this dnsmasq knows."""
        if self._options is None:
            texts = [(await run(("dnsmasq", "--help", kind))).text for kind in ("dhcp", "dhcp6")]
            self._options = known_options(texts[0]), known_options(texts[1])
        return self._options

    async def _keep_running(
        self, network: DhcpNetwork, argv: list[str], files: Files, *, changed: bool, is_detailed: bool
    ) -> None:
        paths, namespace = Paths(self._run_dir / network.id), namespace_of(network.id)
        pid = dnsmasq.find_running(paths.of("pid"))
        taken_over = _without_conflicts(_read(paths.of("leases")), files.hosts)
        # One whose lease file was removed goes on writing into nothing.
        is_right = taken_over is None and paths.of("leases").exists()
        if pid is not None and is_right and dnsmasq.is_right(pid, argv, namespace):
            if changed:
                dnsmasq.reload(pid)
            probed = network.fixed_ips[0].ip_address if is_detailed and network.fixed_ips else None
            if probed is None or await dnsmasq.answers(namespace, probed):
                self._pids[network.id] = pid
                return
            log.error("DHCP of network %s: dnsmasq %d hangs, another one is started", network.id, pid)
            await dnsmasq.end(pid, is_hung=True)
        elif pid is None:
            await self._after_its_end(network.id, paths)
        await dnsmasq.stop(paths.of("pid"))
        if taken_over is not None:
            _replace(paths.of("leases"), taken_over)
        await dnsmasq.start(argv, namespace)
        self._started_at[network.id] = time.monotonic()
        pid = dnsmasq.find_running(paths.of("pid"))
        if pid is not None:
            self._pids[network.id] = pid

    async def _after_its_end(self, network_id: str, paths: Paths) -> None:
        """It is not there (any more), as far as its pid file says. Raises PortError if it cannot live."""
        for pid in dnsmasq.find_all(self._run_dir).get(paths.of("pid"), ()):
            await dnsmasq.end(pid)  # only the pid file was lost
        self._pids.pop(network_id, None)
        started_at = self._started_at.pop(network_id, None)
        if started_at is not None and time.monotonic() - started_at < SHORT_LIFE_S:
            last_words = _read(paths.of("log"))[-LAST_WORDS_BYTES:].strip()
            raise PortError(f"dnsmasq ended right after its start: {last_words}")


def _report(network: DhcpNetwork, outcome: str | Failed) -> DhcpReport:
    if isinstance(outcome, Failed):
        return DhcpReport(network_id=network.id, status="ERROR", reason=outcome.reason)
    provisioned = tuple(host.port_id for host in network.hosts)
    return DhcpReport(network_id=network.id, status="ACTIVE", reason=outcome, port_ids=provisioned)


def _port_of(network: DhcpNetwork) -> NamespacePort:
    addresses = [f"{ip.ip_address}/{ip.prefix_length}" for ip in network.fixed_ips]
    if network.metadata:
        addresses.append(METADATA_CIDR)
    return NamespacePort(
        port_id=network.port_id,
        prefix="ns-",
        mac_address=network.mac_address,
        mtu=network.mtu,
        addresses=tuple(addresses),
    )


def _without_conflicts(leases: str, hosts: str) -> str | None:
    """The leases without those that hold an address which now belongs to another MAC; None if there are none such.

    dnsmasq would refuse the new owner until the old lease (of a deleted port) ends.
    """
    owner: dict[str, str] = {}
    for line in hosts.splitlines():
        mac, *_, address = line.split(",")
        owner[address.strip("[]")] = mac
    lines = leases.splitlines()
    kept = [line for line in lines if not _is_conflict(line.split(), owner)]
    return None if len(kept) == len(lines) else "".join(f"{line}\n" for line in kept)


def _is_conflict(fields: list[str], owner: Mapping[str, str]) -> bool:
    # "<expiry> <mac> <address> <name> <client id>"; IPv6 leases name no MAC and are left alone.
    if len(fields) < 3 or ":" not in fields[1] or ":" in fields[2]:
        return False
    return owner.get(fields[2], fields[1]) != fields[1]


def _write_files(files: Files, paths: Paths) -> bool:
    """Write what differs; True if something did."""
    changed = False
    for name, text in (("hosts", files.hosts), ("options", files.options), ("names", files.names)):
        if _read(paths.of(name)) != text or not paths.of(name).exists():
            _replace(paths.of(name), text)
            changed = True
    return changed


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.chmod(0o644)
    os.replace(temporary, path)


def _make_readable(directory: Path) -> None:
    """Make the directory. Raises OSError if dnsmasq's user could not reach it."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    for level in (directory, *directory.parents):
        if not level.stat().st_mode & 0o001:
            raise PermissionError(f"{level} must be reachable (x) for others: dnsmasq reads {directory} unprivileged")
