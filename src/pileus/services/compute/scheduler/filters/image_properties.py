"""Hosts that can run the image: its architecture, hypervisor type and mode.

Image properties `hw_architecture`, `img_hv_type`, `img_hv_requested_version` (a list such as `>=7.0,<9`), `hw_vm_mode`,
and their older names.
"""

from __future__ import annotations

import operator
import re

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest

ALIASES = {
    "amd64": "x86_64", "x86-64": "x86_64", "x64": "x86_64", "arm64": "aarch64",
    "i386": "i686", "i486": "i686", "i586": "i686", "x86": "i686",
}
RUNS_ALSO = {"x86_64": frozenset({"i686"})}
# QEMU is what the hypervisor reports with and without KVM; images say either.
TYPES = {"kvm": "qemu"}
COMPARE = {
    ">=": operator.ge, "<=": operator.le, "!=": operator.ne, "==": operator.eq, "=": operator.eq, ">": operator.gt,
    "<": operator.lt,
}
_VERSION = re.compile(r"^\s*(>=|<=|!=|==|=|>|<)?\s*(\d{1,6})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?\s*$")


def canonical(arch: str) -> str:
    """One name per architecture."""
    lower = arch.strip().lower()
    return ALIASES.get(lower, lower)


def version_fits(wanted: str, version: int) -> bool:
    """Whether a hypervisor version (7.2.22 is 7002022) meets each condition of a list. What cannot be read does not."""
    for condition in wanted.split(","):
        match = _VERSION.match(condition)
        if match is None:
            return False
        major, minor, micro = (int(part or 0) for part in match.groups()[1:])
        if not COMPARE[match.group(1) or "=="](version, major * 1_000_000 + minor * 1_000 + micro):
            return False
    return True


class ImagePropertiesFilter:
    name = "ImagePropertiesFilter"
    order = 40
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        image = request.image_properties
        arch = image.get("hw_architecture") or image.get("architecture")
        if arch and host.arch:
            own = canonical(host.arch)
            if canonical(arch) != own and canonical(arch) not in RUNS_ALSO.get(own, frozenset()):
                return Refusal(f"the image is for {arch}, the host is {host.arch}")
        kind = (image.get("img_hv_type") or image.get("hypervisor_type") or "").lower()
        if kind and TYPES.get(kind, kind) != TYPES.get(host.hypervisor_type.lower(), host.hypervisor_type.lower()):
            return Refusal(f"the image is for hypervisor {kind}, the host has {host.hypervisor_type or 'none known'}")
        version = image.get("img_hv_requested_version")
        if version and not version_fits(version, host.hypervisor_version):
            return Refusal(f"the image asks for hypervisor version {version}, the host has {host.hypervisor_version}")
        mode = (image.get("hw_vm_mode") or image.get("vm_mode") or "").lower()
        if mode and mode != host.vm_mode:
            return Refusal(f"the image asks for mode {mode}, the host offers {host.vm_mode}")
        return None


FILTER = ImagePropertiesFilter()
