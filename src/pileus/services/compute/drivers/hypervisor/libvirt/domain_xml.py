"""The libvirt domain of a guest, built as a tree so that no value can become markup.

Format: https://libvirt.org/formatdomain.html (9.0). Guests carry our metadata element; a domain without it,
or of another cloud, is not ours and is never touched.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

from pileus.services.compute.drivers.hypervisor.interface import (
    DiskDefinition,
    GuestDefinition,
    NicDefinition,
    instance_name,
)

METADATA_URI: Final = "https://pileus.invalid/xmlns/guest/1"
_BLOCK_CACHE_MIB: Final = 32  # translation cache per emulated guest; more buys little, less costs retranslation
_TITLE_CHARS: Final = 255
_MAX_KERNEL_CMDLINE: Final = 1800  # x86 Linux takes 2,047 in all
_CPU_MHZ: Final = re.compile(r"^cpu MHz\s*:\s*([0-9.]+)", re.MULTILINE)

ET.register_namespace("pileus", METADATA_URI)


def domain_xml(
    guest: GuestDefinition, *, cloud: str, accelerated: bool, as_root: bool = False,
    block_cache_mib: int = _BLOCK_CACHE_MIB,
) -> str:
    """The domain's XML. `as_root`: ask a foreign libvirtd to run this guest as root, for files that only root
    can reach."""
    domain = ET.Element("domain", type="kvm" if accelerated else "qemu")
    _text(domain, "name", instance_name(guest.server_id))
    _text(domain, "uuid", guest.server_id)
    _text(domain, "title", " ".join(_printable(guest.title).split())[:_TITLE_CHARS] or guest.server_id)
    metadata = ET.SubElement(domain, "metadata")
    ET.SubElement(metadata, f"{{{METADATA_URI}}}guest", cloud=cloud, generation=str(guest.generation))
    _text(domain, "memory", str(guest.ram_mib), unit="MiB")
    _text(domain, "vcpu", str(guest.vcpus))
    _boot(domain, guest, accelerated)
    _features(domain, accelerated, block_cache_mib)
    ET.SubElement(domain, "cpu", mode="host-passthrough" if accelerated else "maximum", check="none")
    ET.SubElement(domain, "clock", offset="utc")
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "destroy")
    devices = ET.SubElement(domain, "devices")
    if any(disk.bus == "scsi" for disk in guest.disks):
        ET.SubElement(devices, "controller", type="scsi", model="virtio-scsi")
    for disk in guest.disks:
        _disk(devices, disk)
    for nic in guest.nics:
        _nic(devices, nic)
    _console(devices, guest)
    _graphics(devices)
    ET.SubElement(devices, "memballoon", model="virtio")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    if as_root:
        label = ET.SubElement(domain, "seclabel", type="static", model="dac", relabel="yes")
        _text(label, "label", "+0:+0")
    return ET.tostring(domain, encoding="unicode")


def our_metadata(xml: str, cloud: str) -> int | None:
    """The generation in a domain's XML if it is a guest of this cloud, else None."""
    element = ET.fromstring(xml).find(  # noqa: S314 - libvirt wrote it
        f"./metadata/{{{METADATA_URI}}}guest")
    if element is None or element.get("cloud") != cloud:
        return None
    generation = element.get("generation", "")
    return int(generation) if generation.isdecimal() else 0


def vnc_port(xml: str) -> int | None:
    """The TCP port that a running guest's display listens on."""
    graphics = ET.fromstring(xml).find(  # noqa: S314 - libvirt wrote it
        "./devices/graphics[@type='vnc']")
    port = int(graphics.get("port", "-1")) if graphics is not None else -1
    return port if port > 0 else None


def _boot(domain: ET.Element, guest: GuestDefinition, accelerated: bool) -> None:
    os = ET.SubElement(domain, "os")
    _text(os, "type", "hvm", arch="x86_64", machine=guest.machine)
    if guest.direct_boot is None:
        ET.SubElement(os, "boot", dev="hd")
        return
    _text(os, "kernel", str(guest.direct_boot.kernel))
    if guest.direct_boot.ramdisk is not None:
        _text(os, "initrd", str(guest.direct_boot.ramdisk))
    cmdline = _printable(guest.direct_boot.cmdline)[:_MAX_KERNEL_CMDLINE]
    if not accelerated and "tsc" not in cmdline:
        cmdline = f"{cmdline} {_emulated_clock_options()}"
    if cmdline.strip():
        _text(os, "cmdline", cmdline.strip())


def _emulated_clock_options() -> str:
    """Kernel options that spare an emulated Linux guest the calibration in which it may hang on a busy host.
    """
    found = _CPU_MHZ.search(Path("/proc/cpuinfo").read_text())
    frequency = f"tsc_early_khz={round(float(found[1]) * 1000)} " if found else ""
    return f"{frequency}tsc=reliable no_timer_check"


def _features(domain: ET.Element, accelerated: bool, block_cache_mib: int) -> None:
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if not accelerated:
        _text(ET.SubElement(features, "tcg"), "tb-cache", str(block_cache_mib), unit="MiB")


def _disk(devices: ET.Element, disk: DiskDefinition) -> None:
    element = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(element, "driver", name="qemu", type=disk.image_format, discard="unmap")
    ET.SubElement(element, "source", file=str(disk.path))
    if disk.backing is not None:
        backing = ET.SubElement(element, "backingStore", type="file")
        ET.SubElement(backing, "format", type="raw")
        source = ET.SubElement(backing, "source", file=str(disk.backing))
        # the base stays ours: a QEMU that owned it could make it writable and reach other servers through it
        ET.SubElement(source, "seclabel", model="dac", relabel="no")
        ET.SubElement(backing, "backingStore")
    elif disk.image_format == "qcow2":
        ET.SubElement(element, "backingStore")  # none: libvirt need not look into the file
    ET.SubElement(element, "target", dev=disk.device, bus=disk.bus)
    if disk.serial:
        _text(element, "serial", disk.serial)
    if disk.read_only:
        ET.SubElement(element, "readonly")


def _nic(devices: ET.Element, nic: NicDefinition) -> None:
    interface = ET.SubElement(devices, "interface", type="ethernet")
    ET.SubElement(interface, "mac", address=nic.mac)
    ET.SubElement(interface, "target", dev=nic.tap, managed="no")
    ET.SubElement(interface, "model", type=nic.model)
    if nic.model == "virtio":
        ET.SubElement(interface, "mtu", size=str(nic.mtu))


def _console(devices: ET.Element, guest: GuestDefinition) -> None:
    """A serial port on a pty, which never blocks the guest when nobody reads, copied to the log file in
    append mode."""
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=str(guest.console_log), append="on")
    ET.SubElement(serial, "target", port="0")
    ET.SubElement(ET.SubElement(devices, "console", type="pty"), "target", type="serial", port="0")


def _graphics(devices: ET.Element) -> None:
    ET.SubElement(devices, "graphics", type="vnc", autoport="yes", listen="127.0.0.1")
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="vga", vram="16384", heads="1")


def _text(parent: ET.Element, tag: str, value: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = value
    return element


def _printable(text: str) -> str:
    """XML has no way to write control characters."""
    return "".join(character if character.isprintable() else " " for character in text)
