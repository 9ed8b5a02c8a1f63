"""`pileus doctor`: what this machine lacks to run a cloud, and what to do about it."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from pileus.cli import daemon, processes
from pileus.cli.layout import Layout

MIN_FREE_GIB = 5
MIN_MEMORY_MIB = 1_024
USUAL_PORTS = (5000, 8774, 8778, 9292, 9696)

TOOLS = {  # tool -> Debian package
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "libvirtd": "libvirt-daemon-system",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "bridge": "iproute2",
    "iptables-restore": "iptables",
    "ip6tables-restore": "iptables",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "conntrack": "conntrack",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
}


class Acceleration(msgspec.Struct, frozen=True):
    """How the compute agent of this host runs guests: `kvm` or `tcg` (emulation), and why."""

    kind: str
    reason: str


class _Probe(msgspec.Struct):
    acceleration: Acceleration


def acceleration(layout: Layout) -> Acceleration | None:
    """What the compute agent found when it last tried, or None when it has not."""
    try:
        content = (layout.state_dir / "compute" / "kvm-probe.json").read_bytes()
        return msgspec.json.decode(content, type=_Probe).acceleration
    except (OSError, msgspec.MsgspecError):
        return None


class Finding(msgspec.Struct, frozen=True):
    """One check. good: None means it works but less well. remedy: what to do."""

    what: str
    good: bool | None
    detail: str
    remedy: str = ""


def doctor(layout: Layout) -> int:
    """Print all findings; 1 if something is missing without which no guest can run."""
    findings = [finding for check in CHECKS for finding in check(layout)]
    for finding in findings:
        mark = {True: "ok  ", None: "note", False: "LACK"}[finding.good]
        print(f"{mark}  {finding.what}: {finding.detail}")
        if finding.good is not True and finding.remedy:
            print(f"        -> {finding.remedy}")
    lacking = sum(finding.good is False for finding in findings)
    print("\nThis machine can run a cloud." if not lacking else f"\nMissing: {lacking}.")
    return 1 if lacking else 0


def _python(_layout: Layout) -> Iterator[Finding]:
    yield Finding("Python", sys.version_info >= (3, 11), sys.version.split()[0], "use Python 3.11 or newer")


def _root(_layout: Layout) -> Iterator[Finding]:
    yield Finding("root", os.geteuid() == 0, f"user id {os.geteuid()}", "run as root: guests and networks need it")


def _tools(_layout: Layout) -> Iterator[Finding]:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = {tool: package for tool, package in TOOLS.items() if shutil.which(tool, path=path) is None}
    if not missing:
        yield Finding("tools", True, f"all {len(TOOLS)} found")
    for tool, package in missing.items():
        yield Finding("tool " + tool, False, "not found", f"apt-get install {package}")


def _lab(_layout: Layout) -> Iterator[Finding]:
    """What `pileus lab` needs; a cloud does without."""
    from pileus.lab import engine_set

    missing = {engine: found for engine in engine_set.PROGRAMS if (found := engine_set.missing_packages([engine]))}
    filesystems = Path("/proc/filesystems")
    if filesystems.exists() and "\toverlay" not in filesystems.read_text() and not _loadable("overlay"):
        yield Finding("lab", None, "the kernel has no overlayfs, so `pileus lab` cannot make hosts", "modprobe overlay")
    elif missing:
        packages = sorted({package for found in missing.values() for package in found})
        yield Finding("lab", None, f"layouts with {', '.join(missing)} cannot run here; `all-in-one` can",
                      f"apt-get install {' '.join(packages)} (only for `pileus lab`)")
    else:
        yield Finding("lab", True, "all engines found")


def _libvirt_binding(_layout: Layout) -> Iterator[Finding]:
    try:
        import libvirt
    except ImportError as error:
        yield Finding("libvirt binding", False, str(error), "pip install libvirt-python==9.0.0")
    else:
        yield Finding("libvirt binding", True, str(libvirt.getVersion()))


def _acceleration(layout: Layout) -> Iterator[Finding]:
    if not Path("/dev/kvm").exists():
        yield Finding("KVM", None, "there is no /dev/kvm: guests are emulated, about ten times slower",
                      "enable virtualization in the firmware, or nested virtualization on the outer host")
        return
    answer = acceleration(layout)
    if answer is None:
        yield Finding("KVM", True, "/dev/kvm exists; the compute agent tries it with a real guest at its start")
    else:
        remedy = "nothing needs doing: guests are emulated, about ten times slower"
        yield Finding("KVM", True if answer.kind == "kvm" else None, answer.reason, remedy)


def _kernel(_layout: Layout) -> Iterator[Finding]:
    tun = Path("/dev/net/tun")
    yield Finding("tun/tap", tun.exists(), str(tun), "modprobe tun")
    namespaces = Path("/proc/self/ns/net")
    yield Finding("network namespaces", namespaces.exists(), str(namespaces), "a kernel with CONFIG_NET_NS")
    filtered = Path("/proc/sys/net/bridge/bridge-nf-call-iptables").exists()
    yield Finding("br_netfilter", filtered or _loadable("br_netfilter"), "loaded" if filtered else "not loaded yet",
                  "modprobe br_netfilter (security groups need it)")


def _loadable(module: str) -> bool:
    folder = Path("/lib/modules") / os.uname().release
    listing = folder / "modules.dep"
    builtin = folder / "modules.builtin"
    return any(file.exists() and f"/{module}.ko" in file.read_text() for file in (listing, builtin))


def _disk(layout: Layout) -> Iterator[Finding]:
    folder = layout.state_dir
    while not folder.exists():
        folder = folder.parent
    free_gib = shutil.disk_usage(folder).free / 2**30
    usable = os.access(folder, os.W_OK | os.X_OK) and folder.is_dir()
    yield Finding("state directory", usable, f"{layout.state_dir}" if usable else f"{folder} cannot be written to",
                  "choose another --state-dir")
    yield Finding("disk", free_gib >= MIN_FREE_GIB, f"{free_gib:.0f} GiB free in {layout.state_dir}",
                  f"free at least {MIN_FREE_GIB} GiB or choose another --state-dir")


def _memory(_layout: Layout) -> Iterator[Finding]:
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield Finding("memory", pages // 2**20 >= MIN_MEMORY_MIB, f"{pages // 2**20} MiB free", "guests need more memory")


def _port(layout: Layout) -> Iterator[Finding]:
    listen = layout.node.listen
    for process in processes.configured(layout):
        try:
            ours = daemon.holder_pid(process) is not None
        except PermissionError:
            ours = False
        own = f"{process.name} port in [processes]" if process.roles else "[node] port"
        usual = USUAL_PORTS if layout.node.usual_ports and process.roles is None else ()
        for port in (process.port, *usual) if process.port is not None else ():
            where = f"{listen}:{port}"
            if ours:
                yield Finding("port", True, f"{where} is this cloud's")
            elif reason := _port_refused(listen, port):
                yield Finding("port", False, f"{where}: {reason}", f"set another {own} in pileus.toml"
                              if port == process.port else "unset [node] usual_ports, or stop who has it")
            else:
                yield Finding("port", True, f"{where} is free")


def _port_refused(listen: str, port: int) -> str | None:
    with socket.socket(socket.AF_INET6 if ":" in listen else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((listen, port))
        except OSError as error:
            return error.strerror
    return None


CHECKS: tuple[Callable[[Layout], Iterator[Finding]], ...] = (
    _python, _root, _tools, _libvirt_binding, _acceleration, _kernel, _disk, _memory, _port, _lab,
)
