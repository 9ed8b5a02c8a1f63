"""What compute's database says of servers, hypervisors and groups."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import select

from pileus.kernel.db import Tx
from pileus.services.compute.db.hypervisors import HYPERVISORS
from pileus.services.compute.db.servers import SERVERS, FlavorCopy
from pileus.services.compute.logic.resources import needs

LIVE = SERVERS.c.deleted_at.is_(None)
_COLUMNS = [
    SERVERS.c[name]
    for name in (
        "id", "project_id", "user_id", "name", "vm_state", "task_state", "power_state", "generation", "host", "vcpus",
        "ram_mib", "flavor", "image_id", "updated_at",
    )
]  # fmt: skip


class ServerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A live server. vcpus, ram_mib: what quotas count; flavor_*: its own copy of the flavor. needs: amounts by
    resource class that its claim must have."""

    id: str
    project_id: str
    user_id: str
    name: str
    vm_state: str
    task_state: str | None
    power_state: int
    generation: int
    host: str | None
    vcpus: int
    ram_mib: int
    flavor_vcpus: int
    flavor_ram_mib: int
    needs: dict[str, int]
    has_image: bool
    updated_at: datetime


class HypervisorRecord(msgspec.Struct, frozen=True):
    """A host that runs guests; its uuid is also that of its resource provider."""

    host: str
    uuid: str


class ComputeRecords(msgspec.Struct, frozen=True):
    """Live servers by id; hypervisors by host."""

    servers: dict[str, ServerRecord]
    hypervisors: dict[str, HypervisorRecord]


def read(tx: Tx) -> ComputeRecords:
    """All of it, in two statements."""
    servers = {row.id: _server(row._mapping) for row in tx.all(select(*_COLUMNS).where(LIVE))}
    rows = tx.all(select(HYPERVISORS.c.host, HYPERVISORS.c.uuid))
    return ComputeRecords(servers, {row.host: HypervisorRecord(row.host, row.uuid) for row in rows})


def _server(row) -> ServerRecord:
    values = dict(row)
    flavor = msgspec.convert(values.pop("flavor"), FlavorCopy)
    has_image = values.pop("image_id") is not None
    return ServerRecord(
        **values, flavor_vcpus=flavor.vcpus, flavor_ram_mib=flavor.ram_mib, needs=needs(flavor), has_image=has_image
    )
