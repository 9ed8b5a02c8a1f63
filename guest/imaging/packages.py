"""Debian packages: download without installing, unpack into a folder."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from imaging.commands import run

KERNEL_META_PACKAGE = "linux-image-cloud-amd64"


def fetch(contents: Path, folder: Path) -> list[Path]:
    """Downloads the packages that `contents` lists, as apt's sources and signatures allow; returns the files."""
    folder.mkdir()
    lines = (line.partition("#")[0].strip() for line in contents.read_text().splitlines())
    names = [_kernel_package() if name == KERNEL_META_PACKAGE else name for name in lines if name]
    # apt would otherwise warn that its unprivileged user cannot write into our folder.
    run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names, cwd=folder)
    return sorted(folder.glob("*.deb"))


def _kernel_package() -> str:
    """The package that the meta package stands for at present."""
    shown = run("apt-cache", "depends", "--important", KERNEL_META_PACKAGE).decode()
    found = re.search(r"Depends: (linux-image-\d\S*-cloud-amd64)", shown)
    if not found:
        sys.exit(f"guest image: apt does not know {KERNEL_META_PACKAGE}; run apt-get update")
    return found[1]


def unpack(debs: list[Path], folder: Path) -> Path:
    """Unpacks all packages over one another; no package script runs."""
    folder.mkdir()
    for deb in debs:
        run("dpkg-deb", "-x", deb, folder)
    return folder
