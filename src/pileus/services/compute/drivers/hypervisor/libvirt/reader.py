"""The guests of a cloud as libvirt knows them now, for who only looks: nothing is started, nothing changed."""

from __future__ import annotations

import libvirt
import msgspec

from pileus.services.compute.drivers.hypervisor.interface import HypervisorError
from pileus.services.compute.drivers.hypervisor.libvirt.calls import CallPool
from pileus.services.compute.drivers.hypervisor.libvirt.domain_xml import our_metadata

URI = "qemu:///system"


class KnownGuest(msgspec.Struct, frozen=True):
    """A domain of the cloud. is_active: it has a process, running or paused."""

    server_id: str
    name: str
    is_active: bool


async def list_guests(cloud: str, *, timeout_s: float) -> tuple[KnownGuest, ...]:
    """All guests of the cloud on this host. Raises HypervisorError, also when no libvirtd answers."""
    pool = CallPool("libvirt-reader")
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised; not printed as well
    try:
        return await pool.call(lambda: _read(cloud), timeout_s=timeout_s, what="list guests")
    except libvirt.libvirtError as error:
        raise HypervisorError(f"libvirtd does not answer: {error}") from error
    finally:
        pool.close()


def _read(cloud: str) -> tuple[KnownGuest, ...]:
    connection = libvirt.openReadOnly(URI)
    try:
        found = []
        for domain in connection.listAllDomains(0):
            try:
                if our_metadata(domain.XMLDesc(0), cloud) is not None:
                    found.append(KnownGuest(domain.UUIDString(), domain.name(), bool(domain.isActive())))
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:  # gone since it was listed
                    raise
        return tuple(found)
    finally:
        connection.close()
