"""What every hypervisor driver must do. Run on the fake in tests/unit, on libvirt in tests/scenario."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pileus.services.compute.drivers.hypervisor.interface import (
    DiskDefinition,
    GuestDefinition,
    GuestNotFound,
    Hypervisor,
)

MakeGuest = Callable[[], Awaitable[GuestDefinition]]


async def guests_are_defined_started_stopped_and_forgotten(hypervisor: Hypervisor, guest: GuestDefinition) -> None:
    defined = await hypervisor.define(guest)
    assert (defined.server_id, defined.power_state) == (guest.server_id, "stopped")
    assert defined.generation == guest.generation
    started = await hypervisor.start(guest.server_id)
    assert started.power_state == "running"
    assert (await hypervisor.start(guest.server_id)).power_state == "running"
    assert guest.server_id in {each.server_id for each in await hypervisor.list_guests()}
    await hypervisor.power_off(guest.server_id)
    await hypervisor.power_off(guest.server_id)
    stopped = await hypervisor.inspect(guest.server_id)
    assert stopped is not None
    assert (stopped.power_state, stopped.clean_stop) == ("stopped", True)
    await hypervisor.press_power_button(guest.server_id)
    await hypervisor.start(guest.server_id)
    await hypervisor.undefine(guest.server_id)
    await hypervisor.undefine(guest.server_id)
    assert await hypervisor.inspect(guest.server_id) is None
    assert guest.server_id not in {each.server_id for each in await hypervisor.list_guests()}


async def redefining_raises_the_generation_and_keeps_the_state(hypervisor: Hypervisor, guest: GuestDefinition) -> None:
    await hypervisor.define(guest)
    await hypervisor.start(guest.server_id)
    newer = GuestDefinition(**{name: getattr(guest, name) for name in guest.__struct_fields__} | {"generation": 9})
    assert (await hypervisor.define(newer)).power_state == "running"
    await hypervisor.power_off(guest.server_id)
    state = await hypervisor.inspect(guest.server_id)
    assert state is not None
    assert state.generation == 9
    await hypervisor.undefine(guest.server_id)


async def unknown_guests_are_not_found(hypervisor: Hypervisor) -> None:
    nobody = str(uuid.uuid4())
    assert await hypervisor.inspect(nobody) is None
    await hypervisor.undefine(nobody)
    for action in (hypervisor.start, hypervisor.power_off, hypervisor.press_power_button):
        with pytest.raises(GuestNotFound):
            await action(nobody)


async def host_facts_are_plausible(hypervisor: Hypervisor) -> None:
    facts = await hypervisor.host_facts()
    assert facts.vcpus > 0
    assert facts.ram_mib > 256
    assert facts.hypervisor_version >= 1_000_000
    assert facts.acceleration.kind in ("kvm", "tcg", "none")
    assert facts.acceleration.reason


async def many_guests_at_once(hypervisor: Hypervisor, guests: list[GuestDefinition]) -> None:
    await asyncio.gather(*(hypervisor.define(guest) for guest in guests))
    assert {guest.server_id for guest in guests} <= {each.server_id for each in await hypervisor.list_guests()}
    await asyncio.gather(*(hypervisor.undefine(guest.server_id) for guest in guests))
    assert not {guest.server_id for guest in guests} & {each.server_id for each in await hypervisor.list_guests()}


def imagined_guest(directory: Path) -> GuestDefinition:
    """A guest for a driver that opens no disk."""
    server_id = str(uuid.uuid4())
    disks = (DiskDefinition(directory / "disk", "qcow2", "vda"),)
    return GuestDefinition(server_id, 1, "a <server> & 'more'", 1, 64, directory / f"{server_id}.log", disks)
