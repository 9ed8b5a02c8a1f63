"""Extra specs `capabilities:name`: facts of the host itself, such as `capabilities:hypervisor_type`."""

from __future__ import annotations

from pileus.services.compute.scheduler.decision import Refusal
from pileus.services.compute.scheduler.facts import HostState, SchedulingRequest
from pileus.services.compute.scheduler.spec_operators import matches

SCOPE = "capabilities:"


def _facts(host: HostState) -> dict[str, str]:
    facts = {
        "hypervisor_type": host.hypervisor_type, "hypervisor_version": str(host.hypervisor_version),
        "hypervisor_hostname": host.node, "host": host.name, "cpu_info:arch": host.arch, "arch": host.arch,
    }
    known = {"VCPU": "free_vcpus", "MEMORY_MB": "free_ram_mb", "DISK_GB": "free_disk_gb"}
    facts.update({known[name]: str(item.free) for name, item in host.capacity.items() if name in known})
    return facts


class ComputeCapabilitiesFilter:
    name = "ComputeCapabilitiesFilter"
    order = 60
    always = False

    def judge(self, request: SchedulingRequest, host: HostState) -> Refusal | None:
        wanted = {key: value for key, value in request.extra_specs.items() if key.startswith(SCOPE)}
        if not wanted:
            return None
        facts = _facts(host)
        for key, value in sorted(wanted.items()):
            name = key.removeprefix(SCOPE)
            if name not in facts or not matches(value, facts[name]):
                return Refusal(f"its {name} is {facts.get(name, 'not known')}, not {value}")
        return None


FILTER = ComputeCapabilitiesFilter()
