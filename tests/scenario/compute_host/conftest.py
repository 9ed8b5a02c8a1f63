"""Fixtures for what runs inside a private host: libvirt on a libvirtd that the driver starts itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pileus.services.compute.drivers.hypervisor.libvirt import LibvirtHypervisor


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hypervisor(state_dir: Path) -> AsyncIterator[LibvirtHypervisor]:
    driver = LibvirtHypervisor(cloud="scenario", state_dir=state_dir)
    await driver.open()
    yield driver
    for guest in await driver.list_guests():
        await driver.undefine(guest.server_id)
    stopped = await driver.stop_daemon()
    await driver.close()
    assert stopped
