"""The disk: a FAT partition that syslinux boots from and an ext4 partition with the root file system.

All is written into a plain file at offsets, so nothing is mounted and no loop device is needed.
"""

from __future__ import annotations

from pathlib import Path

from imaging.commands import run

MIB = 2**20
SECTOR_BYTES = 512
BOOT_START_MIB = 1
BOOT_MIB = 31
ROOT_START_MIB = BOOT_START_MIB + BOOT_MIB
ROOT_MIB = 96
MBR_CODE = Path("/usr/lib/syslinux/mbr/mbr.bin")
MBR_CODE_BYTES = 440


def make(work: Path, kernel: Path, initrd: Path, config: str, root: Path) -> Path:
    """Writes the disk below `work` and returns it as a qcow2 file."""
    raw, image = work / "disk.raw", work / "disk.qcow2"
    with raw.open("wb") as file:
        file.truncate((ROOT_START_MIB + ROOT_MIB) * MIB)
    _write_boot_partition(work, raw, kernel, initrd, config)
    _write_root_partition(work, raw, root)
    with raw.open("r+b") as file:
        file.write(MBR_CODE.read_bytes()[:MBR_CODE_BYTES])
    # Not compressed: every guest would unpack kernel and programs again at each boot, about a tenth of its cost.
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image)
    return image


def _write_boot_partition(work: Path, raw: Path, kernel: Path, initrd: Path, config: str) -> None:
    start = BOOT_START_MIB * MIB
    sectors = MIB // SECTOR_BYTES
    run("mkfs.vfat", "-F", "16", "-n", "PILEUSBOOT", "--offset", str(start // SECTOR_BYTES), raw, str(BOOT_MIB * 1024))
    table = f"{BOOT_START_MIB * sectors},{BOOT_MIB * sectors},6,*\n{ROOT_START_MIB * sectors},{ROOT_MIB * sectors},83\n"
    run("sfdisk", "--quiet", raw, stdin=table.encode())
    settings = work / "syslinux.cfg"
    settings.write_text(config)
    filesystem = f"{raw}@@{start}"
    run("mcopy", "-i", filesystem, settings, "::syslinux.cfg")
    run("mcopy", "-i", filesystem, kernel, "::vmlinuz")
    run("mcopy", "-i", filesystem, initrd, "::initrd")
    run("syslinux", "--offset", str(start), "--install", raw)


def _write_root_partition(work: Path, raw: Path, root: Path) -> None:
    """mkfs.ext4 -d fills the file system from the folder. 4 KiB blocks, because the default for a small file
    system (1 KiB) would limit how far it can grow; inode tables written now, so that no guest has to do it."""
    part = work / "root.ext4"
    run(
        "mkfs.ext4", "-q", "-F", "-L", "pileus-root", "-b", "4096", "-m", "1", "-d", root,
        "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", part, f"{ROOT_MIB}M",
    )  # fmt: skip
    run("dd", f"if={part}", f"of={raw}", "bs=1M", f"seek={ROOT_START_MIB}", "conv=notrunc,sparse")
