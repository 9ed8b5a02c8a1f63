"""The list of extensions that clients of old asked for: what used to be optional and is offered here."""

from __future__ import annotations

from typing import Any

from pileus.kernel.errors import NotFound
from pileus.kernel.http import Call, Route

UPDATED = "2014-12-03T00:00:00Z"
EXTENSIONS = {
    "os-aggregates": "Aggregates", "os-attach-interfaces": "AttachInterfaces",
    "os-availability-zone": "AvailabilityZone",
    "os-config-drive": "ConfigDrive", "os-console-output": "ConsoleOutput", "os-deferred-delete": "DeferredDelete",
    "OS-DCF": "DiskConfig", "OS-EXT-AZ": "ExtendedAvailabilityZone", "OS-EXT-IPS": "ExtendedIps",
    "OS-EXT-IPS-MAC": "ExtendedIpsMac", "OS-EXT-SRV-ATTR": "ExtendedServerAttributes", "OS-EXT-STS": "ExtendedStatus",
    "OS-FLV-DISABLED": "FlavorDisabled", "OS-FLV-EXT-DATA": "FlavorExtraData", "os-flavor-access": "FlavorAccess",
    "os-flavor-extra-specs": "FlavorExtraSpecs", "os-flavor-manage": "FlavorManage", "os-flavor-rxtx": "FlavorRxtx",
    "os-flavor-swap": "FlavorSwap", "os-hypervisors": "Hypervisors", "os-instance-actions": "InstanceActions",
    "os-keypairs": "Keypairs", "os-multiple-create": "MultipleCreate", "os-quota-class-sets": "QuotaClasses",
    "os-quota-sets": "Quotas", "OS-SCH-HNT": "SchedulerHints", "os-security-groups": "SecurityGroups",
    "os-server-groups": "ServerGroups", "OS-SRV-USG": "ServerUsage", "os-services": "Services",
    "os-simple-tenant-usage": "SimpleTenantUsage", "os-used-limits": "UsedLimits", "os-user-data": "UserData",
}


def _view(alias: str) -> dict[str, Any]:
    name = EXTENSIONS[alias]
    return {
        "alias": alias, "name": name, "description": f"{name} of the compute API.", "links": [],
        "namespace": "https://docs.openstack.org/compute/ext/", "updated": UPDATED,
    }


async def list_extensions(call: Call[None]) -> dict[str, Any]:
    """All."""
    return {"extensions": [_view(alias) for alias in sorted(EXTENSIONS)]}


async def show_extension(call: Call[None]) -> dict[str, Any]:
    """One."""
    alias = call.path["alias"]
    if alias not in EXTENSIONS:
        raise NotFound("The resource could not be found.")
    return {"extension": _view(alias)}


ROUTES = (
    Route(method="GET", path="/v2.1/extensions", handler=list_extensions, policy="os_compute_api:extensions"),
    Route(method="GET", path="/v2.1/extensions/{alias}", handler=show_extension, policy="os_compute_api:extensions"),
)
