"""A server as the API shows it: one place for show, lists and update, so that no field is forgotten in one of them."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import msgspec

from pileus.kernel.http import Call
from pileus.services.compute import states
from pileus.services.compute.api import values
from pileus.services.compute.db.faults import Fault
from pileus.services.compute.db.server_lists import BriefServer
from pileus.services.compute.db.servers import Server, Vif


class ServerExtras(msgspec.Struct, frozen=True):
    """What a view needs beside the row. host_up: None when the state of the host is not shown."""

    tags: list[str] = []
    fault: Fault | None = None
    group_ids: list[str] = []
    host_status: str = ""


class Viewer:
    """Shows servers to one caller: what depends on version and policy alone is found out once per request."""

    def __init__(self, call: Call[Any]) -> None:
        allows, at_least = call.allows, call.at_least
        self.root = call.base_url
        self.admin = allows("context_is_admin")
        self.extended = allows("os_compute_api:os-extended-server-attributes")
        self.host_status = at_least("2.16") and allows("os_compute_api:servers:show:host_status")
        self.specs = allows("os_compute_api:servers:show:flavor-extra-specs")
        self.since = functools.cache(at_least)

    def brief(self, server: Server | BriefServer) -> dict[str, Any]:
        """The short list's form."""
        return {"id": server.id, "name": server.name, "links": values.links(self.root, "servers", server.id)}

    def full(self, server: Server, extras: ServerExtras, *, groups: bool = True) -> dict[str, Any]:
        """Everything. `groups`: with server_groups (2.71), which lists do not have."""
        shown = self._base(server, extras, with_types=True)
        shown |= {
            "config_drive": "True" if server.config_drive else "",
            "key_name": server.key_name,
            "OS-SRV-USG:launched_at": _usage_time(server.launched_at),
            "OS-SRV-USG:terminated_at": _usage_time(server.terminated_at),
            "OS-EXT-AZ:availability_zone": server.availability_zone or server.pinned_zone or "",
            "OS-EXT-STS:task_state": server.task_state,
            "OS-EXT-STS:vm_state": server.vm_state,
            "OS-EXT-STS:power_state": server.power_state,
            "os-extended-volumes:volumes_attached": [],
        }
        names = dict.fromkeys(name for vif in server.network_info for name in vif.security_groups)
        if names:
            shown["security_groups"] = [{"name": name} for name in names]
        if self.extended:
            shown |= self._extended(server)
        if self.host_status:
            shown["host_status"] = extras.host_status
        if groups and self.since("2.71"):
            shown["server_groups"] = extras.group_ids
        return shown

    def after_change(self, server: Server, extras: ServerExtras) -> dict[str, Any]:
        """What update answers with: the base only before 2.75, everything since."""
        return self.full(server, extras) if self.since("2.75") else self._base(server, extras, with_types=False)

    def _base(self, server: Server, extras: ServerExtras, *, with_types: bool) -> dict[str, Any]:
        status = server.status
        shown: dict[str, Any] = {
            "id": server.id,
            "name": server.name,
            "status": status,
            "tenant_id": server.project_id,
            "user_id": server.user_id,
            "metadata": server.metadata,
            "hostId": host_id(server.project_id, server.host),
            "image": self._image(server),
            "flavor": self._flavor(server),
            "created": values.time(server.created_at),
            "updated": values.time(server.updated_at),
            "addresses": addresses(server.network_info, with_types=with_types),
            "accessIPv4": server.access_ip_v4 or "",
            "accessIPv6": server.access_ip_v6 or "",
            "links": values.links(self.root, "servers", server.id),
            "OS-DCF:diskConfig": server.disk_config,
        }
        if status in states.WORDS_WITH_PROGRESS:
            shown["progress"] = 0
        if status in ("ERROR", "DELETED") and extras.fault is not None:
            shown["fault"] = self._fault(extras.fault)
        self._newer(shown, server, extras)
        return shown

    def _newer(self, shown: dict[str, Any], server: Server, extras: ServerExtras) -> None:
        since = self.since
        if since("2.9"):
            shown["locked"] = server.locked_by is not None
        if since("2.19"):
            shown["description"] = server.description
        if since("2.26"):
            shown["tags"] = extras.tags
        if since("2.63"):
            shown["trusted_image_certificates"] = None
        if since("2.73"):
            shown["locked_reason"] = server.locked_reason
        if since("2.90"):
            shown["OS-EXT-SRV-ATTR:hostname"] = server.hostname
        if since("2.96"):
            shown["pinned_availability_zone"] = server.pinned_zone
        if since("2.100"):
            shown["scheduler_hints"] = server.scheduler_hints

    def _image(self, server: Server) -> Any:
        if server.image_id is None:
            return ""
        shown: dict[str, Any] = {
            "id": server.image_id, "links": values.bookmark(self.root, "images", server.image_id),
        }
        if self.since("2.98"):
            shown["properties"] = server.image.properties if server.image else {}
        return shown

    def _flavor(self, server: Server) -> dict[str, Any]:
        flavor = server.flavor
        if not self.since("2.47"):
            return {"id": flavor.id, "links": values.bookmark(self.root, "flavors", flavor.id)}
        shown: dict[str, Any] = {
            "vcpus": flavor.vcpus, "ram": flavor.ram_mib, "disk": flavor.root_gib, "ephemeral": flavor.ephemeral_gib,
            "swap": flavor.swap_mib, "original_name": flavor.name,
        }
        if self.specs:
            shown["extra_specs"] = flavor.extra_specs
        return shown

    def _fault(self, fault: Fault) -> dict[str, Any]:
        shown = {"code": fault.code, "created": values.time(fault.created_at), "message": fault.message}
        if fault.details and self.admin:
            shown["details"] = fault.details
        return shown

    def _extended(self, server: Server) -> dict[str, Any]:
        prefix = "OS-EXT-SRV-ATTR:"
        shown: dict[str, Any] = {
            f"{prefix}host": server.host,
            f"{prefix}instance_name": server.instance_name or f"instance-{server.id[:8]}",
            f"{prefix}hypervisor_hostname": server.node,
        }
        if self.since("2.3"):
            image = server.image
            shown |= {
                f"{prefix}reservation_id": server.reservation_id,
                f"{prefix}launch_index": server.launch_index,
                f"{prefix}hostname": server.hostname,
                f"{prefix}kernel_id": image.kernel.id if image and image.kernel else "",
                f"{prefix}ramdisk_id": image.ramdisk.id if image and image.ramdisk else "",
                f"{prefix}root_device_name": server.root_device,
                f"{prefix}user_data": server.user_data,
            }
        return shown


def _usage_time(value: Any) -> str | None:
    """A time of use: microseconds, no zone."""
    return values.exact_time(value)


@functools.lru_cache(maxsize=10_000)
def host_id(project_id: str, host: str | None) -> str:
    """A name for the host that differs from project to project, so that none learns which servers of others it shares
    a host with. Empty while there is no host."""
    return hashlib.sha224(f"{project_id}{host}".encode()).hexdigest() if host else ""


def addresses(vifs: tuple[Vif, ...], *, with_types: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Addresses by the name of their network, fixed before floating."""
    found: dict[str, list[dict[str, Any]]] = {}
    for vif in vifs:
        shown = found.setdefault(vif.network_name, [])
        for address in vif.addresses:
            for kind, texts in (("fixed", (address.address,)), ("floating", address.floating)):
                for text in texts:
                    entry: dict[str, Any] = {"version": 6 if ":" in text else 4, "addr": text}
                    if with_types:
                        entry |= {"OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": vif.mac}
                    shown.append(entry)
    return found
