"""Limits of a project, and what it uses of them."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Route
from pileus.services.compute.api import queries
from pileus.services.compute.db.quota_classes import ClassQuotas
from pileus.services.compute.quotas import INJECTION_LIMITS, NETWORK_LIMITS

NAMES = {
    "maxTotalInstances": "instances", "maxTotalCores": "cores", "maxTotalRAMSize": "ram",
    "maxTotalKeypairs": "key_pairs", "maxServerMeta": "metadata_items", "maxServerGroups": "server_groups",
    "maxServerGroupMembers": "server_group_members", "maxPersonality": "injected_files",
    "maxPersonalitySize": "injected_file_content_bytes", "maxTotalFloatingIps": "floating_ips",
    "maxSecurityGroups": "security_groups", "maxSecurityGroupRules": "security_group_rules",
}
USED = {
    "totalInstancesUsed": "instances", "totalCoresUsed": "cores", "totalRAMUsed": "ram",
    "totalServerGroupsUsed": "server_groups",
}
NETWORK_USED = ("totalFloatingIpsUsed", "totalSecurityGroupsUsed")


async def show_limits(call: Call[None]) -> dict[str, Any]:
    """Absolute limits; there are no rates."""
    queries.only(call, "tenant_id", "reserved")
    project_id = call.context.project_id or ""
    if asked := call.query.get("tenant_id"):
        call.enforce("os_compute_api:limits:other_project")
        project_id = asked
    quotas = call.rt.get(ClassQuotas)

    def read(tx: Tx) -> tuple[dict[str, int], dict[str, int]]:
        used = {name: quotas.used(tx, project_id, resource) for name, resource in USED.items()}
        return quotas.limits(tx, project_id), used

    limits, used = await call.rt.db.read(read)
    hidden: set[str] = set()
    if call.at_least("2.36"):
        hidden |= NETWORK_LIMITS
    else:
        used |= dict.fromkeys(NETWORK_USED, 0)
    if call.at_least("2.57"):
        hidden |= INJECTION_LIMITS
    absolute = {name: limits[resource] for name, resource in NAMES.items() if resource not in hidden}
    if not call.at_least("2.39"):
        absolute["maxImageMeta"] = limits["metadata_items"]
    return {"limits": {"rate": [], "absolute": absolute | used}}


ROUTES = (Route(method="GET", path="/v2.1/limits", handler=show_limits, policy="os_compute_api:limits"),)
