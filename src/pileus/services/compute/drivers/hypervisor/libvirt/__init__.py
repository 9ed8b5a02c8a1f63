"""QEMU guests through libvirt."""

from pileus.services.compute.drivers.hypervisor.libvirt.driver import LibvirtHypervisor

__all__ = ["LibvirtHypervisor"]
