"""Guests that are only remembered."""

from pileus.services.compute.drivers.hypervisor.fake.driver import FakeHypervisor

__all__ = ["FakeHypervisor"]
