"""The fake hypervisor keeps the drivers' contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from pileus.services.compute.drivers.hypervisor.fake import FakeHypervisor
from pileus.services.compute.drivers.hypervisor.interface import Hypervisor
from tests.unit.compute_host import contract


@pytest.fixture
async def hypervisor(tmp_path: Path) -> FakeHypervisor:
    fake = FakeHypervisor(state_file=tmp_path / "guests.json")
    await fake.open()
    return fake


async def test_is_a_hypervisor(hypervisor: FakeHypervisor) -> None:
    assert isinstance(hypervisor, Hypervisor)


async def test_life_of_a_guest(hypervisor: FakeHypervisor, tmp_path: Path) -> None:
    await contract.guests_are_defined_started_stopped_and_forgotten(hypervisor, contract.imagined_guest(tmp_path))


async def test_redefinition(hypervisor: FakeHypervisor, tmp_path: Path) -> None:
    await contract.redefining_raises_the_generation_and_keeps_the_state(hypervisor, contract.imagined_guest(tmp_path))


async def test_unknown_guests(hypervisor: FakeHypervisor) -> None:
    await contract.unknown_guests_are_not_found(hypervisor)


async def test_host_facts(hypervisor: FakeHypervisor) -> None:
    await contract.host_facts_are_plausible(hypervisor)


async def test_many_guests(hypervisor: FakeHypervisor, tmp_path: Path) -> None:
    await contract.many_guests_at_once(hypervisor, [contract.imagined_guest(tmp_path) for _ in range(50)])


async def test_guests_outlive_the_driver(hypervisor: FakeHypervisor, tmp_path: Path) -> None:
    guest = contract.imagined_guest(tmp_path)
    await hypervisor.define(guest)
    await hypervisor.start(guest.server_id)
    await hypervisor.close()
    again = FakeHypervisor(state_file=tmp_path / "guests.json")
    await again.open()
    state = await again.inspect(guest.server_id)
    assert state is not None
    assert state.power_state == "running"
