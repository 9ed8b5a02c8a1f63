"""Options of the compute agent."""

from __future__ import annotations

from typing import Literal

import msgspec


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator may set for a host's agent.

    hypervisor: the driver. instances_dir: where disks and cached images are (None: in the state directory).
    start_slots: guests that may boot at the same time (None: one more than processors, 2 to 4, when emulating;
    16 on KVM). silent_boot_s: seconds after which a guest that wrote nothing to its serial console is
    restarted once, then failed; 0 never (None: 120 when emulating, where boots are known to hang, else 0);
    the image property `pileus_silent_boot_s` overrides it. report_interval_s, reconcile_interval_s: how often
    the host reports, and looks after its guests. image_unused_s: how long a cached image is kept that no
    server uses. image_idle_s: a download that brings nothing for so long is given up. image_slowest_mib_s: average
    speed that a whole image must come at, or it is given up (small ones get two minutes in any case, none more than
    25).
    """

    hypervisor: Literal["libvirt", "fake"] = "libvirt"
    instances_dir: str | None = None
    host_ip: str = "127.0.0.1"
    start_slots: int | None = None
    silent_boot_s: float | None = None
    report_interval_s: float = 20.0
    reconcile_interval_s: float = 5.0
    image_unused_s: float = 86_400.0
    image_idle_s: float = 60.0
    image_slowest_mib_s: float = 8.0
    fake_vcpus: int = 64
    fake_ram_mib: int = 262_144
