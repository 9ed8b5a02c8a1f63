"""The guest's root file system and its initrd, as folders."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from imaging.commands import run

LOADER = "lib64/ld-linux-x86-64.so.2"
# Programs taken from the packages, with the place they get in the guest.
BUSYBOX = "bin/busybox"  # the static one: starting a program with libraries is slow under emulation
PROGRAMS = {
    BUSYBOX: BUSYBOX,
    "usr/sbin/dropbear": "usr/sbin/dropbear",
    "usr/bin/dropbearkey": "usr/bin/dropbearkey",
    "usr/bin/dbclient": "usr/bin/ssh",
    "sbin/resize2fs": "sbin/resize2fs",
}
FOLDERS = (
    "etc/dropbear",
    "bin",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "var/log",
    "var/www",
    "var/lib",
)


@dataclass(frozen=True)
class Kernel:
    """The unpacked kernel package."""

    release: str
    image: Path
    modules: Path
    ticks_per_second: int

    @staticmethod
    def find(files: Path) -> Kernel:
        (modules,) = (files / "lib/modules").iterdir()
        config = (files / f"boot/config-{modules.name}").read_text()
        ticks = re.search(r"^CONFIG_HZ=(\d+)$", config, re.MULTILINE)
        assert ticks is not None
        return Kernel(modules.name, files / f"boot/vmlinuz-{modules.name}", modules, int(ticks[1]))


def make_root(root: Path, files: Path, source: Path, kernel: Kernel) -> None:
    """Fills `root` with programs, their libraries, kernel modules and the files of guest/rootfs."""
    shutil.copytree(source / "rootfs", root, symlinks=True)
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for taken, placed in PROGRAMS.items():
        shutil.copy2(files / taken, root / placed)
    for library in _libraries(files, [program for program in sorted(PROGRAMS) if program != BUSYBOX]):
        _copy(files, root, library)
    run("chroot", root, "/bin/busybox", "--install", "-s")
    (root / "etc/mtab").symlink_to("/proc/self/mounts")
    (root / "etc/resolv.conf").symlink_to("/run/pileus/resolv.conf")
    (root / "root").chmod(0o700)
    (root / "etc/shadow").chmod(0o600)
    _copy_modules(root, source, kernel, ("root", "boot"))


def make_initrd(tree: Path, root: Path, source: Path, kernel: Kernel, archive: Path) -> None:
    """Writes the initrd: busybox, the modules of the boot disk and guest/initrd/init."""
    (tree / "bin").mkdir(parents=True)
    shutil.copy2(source / "initrd/init", tree / "init")
    shutil.copy2(root / BUSYBOX, tree / BUSYBOX)
    run("chroot", tree, "/bin/busybox", "--install", "-s", "/bin")
    _copy_modules(tree, source, kernel, ("boot",))
    names = "\n".join(sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))).encode()
    archive.write_bytes(run("cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0", stdin=names, cwd=tree))


def _libraries(files: Path, programs: list[str]) -> list[str]:
    """Paths below `files` of all shared libraries the programs need. The guest's own loader finds them."""
    found = {LOADER}
    for program in programs:
        listing = run("chroot", files, f"/{LOADER}", "--list", f"/{program}").decode()
        found.update(path.lstrip("/") for path in re.findall(r"=> (/\S+)", listing))
    return sorted(found)


def _copy(source: Path, target: Path, path: str) -> None:
    """Copies a library as a plain file under the name by which it is asked for."""
    (target / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source / path, target / path)


def _copy_modules(tree: Path, source: Path, kernel: Kernel, wanted: tuple[str, ...]) -> None:
    """Copies the modules that guest/modules.txt lists for one of `wanted`, with all they depend on."""
    lines = (line.partition("#")[0].split() for line in (source / "modules.txt").read_text().splitlines())
    names = [line[1] for line in lines if line and line[0] in wanted]
    paths = {path.stem.replace("-", "_"): path for path in kernel.modules.rglob("*.ko")}
    pending, chosen = names, set[str]()
    while pending:
        name = pending.pop()
        if name not in chosen:
            chosen.add(name)
            pending += _needs(paths[name])
    target = tree / "lib/modules" / kernel.release
    for name in chosen:
        place = target / paths[name].relative_to(kernel.modules)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(paths[name], place)
    for index in ("modules.builtin", "modules.order"):
        shutil.copy2(kernel.modules / index, target / index)
    run("chroot", tree, "/bin/busybox", "depmod", kernel.release)


def _needs(module: Path) -> list[str]:
    """Names of the modules that a module file says it depends on (its "depends=" note)."""
    note = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    return [name.decode().replace("-", "_") for name in note[1].split(b",") if name] if note else []
