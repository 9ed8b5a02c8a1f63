"""Servers: the table, its rows, and the compare-and-swap on their state."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Index, Integer, String, Table, Text, bindparam, delete, func, select, update

from pileus.kernel.db import Json, Tx, UtcDateTime
from pileus.services.compute import states
from pileus.services.compute.db import faults, tags
from pileus.services.compute.db.metadata import FLOWS, METADATA
from pileus.services.compute.errors import ServerBeingCleanedUp, ServerNotFound, ServerNotReady, ServerStateConflict

USER_DATA_CHARS = 65_535

SERVERS = Table(
    "servers",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("project_id", String(64), nullable=False),
    Column("user_id", String(64), nullable=False),
    Column("name", String(255), nullable=False),
    Column("description", String(255)),
    Column("hostname", String(255), nullable=False),
    Column("vm_state", String(32), nullable=False),
    Column("task_state", String(32)),
    Column("power_state", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("host", String(255), index=True),
    Column("node", String(255)),
    Column("availability_zone", String(255)),
    Column("pinned_zone", String(255)),
    Column("flavor_id", String(255), nullable=False),
    Column("flavor", Json, nullable=False),
    Column("vcpus", Integer, nullable=False),
    Column("ram_mib", Integer, nullable=False),
    Column("image_id", String(36)),
    Column("image", Json),
    Column("key_name", String(255)),
    Column("public_key", Json),
    Column("user_data", Text(USER_DATA_CHARS)),
    Column("config_drive", Boolean, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("network_info", Json, nullable=False),
    Column("scheduler_hints", Json, nullable=False),
    Column("server_group_id", String(36)),
    Column("access_ip_v4", String(39)),
    Column("access_ip_v6", String(45)),
    Column("disk_config", String(8), nullable=False),
    Column("locked_by", String(16)),
    Column("locked_reason", String(255)),
    Column("reservation_id", String(32), nullable=False),
    Column("launch_index", Integer, nullable=False),
    Column("instance_name", String(64)),
    Column("root_device", String(32)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("launched_at", UtcDateTime),
    Column("terminated_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    Index("ix_servers_project", "project_id", "deleted_at", "created_at"),
    Index("ix_servers_created", "created_at", "id"),
    Index("ix_servers_changed", "updated_at"),
)


class FlavorCopy(msgspec.Struct, frozen=True):
    """A server's own copy of its flavor, as it was when the server was made."""

    id: str
    name: str
    vcpus: int
    ram_mib: int
    root_gib: int
    ephemeral_gib: int = 0
    swap_mib: int = 0
    rxtx_factor: float = 1.0
    extra_specs: dict[str, str] = {}
    description: str | None = None


class ImageCopy(msgspec.Struct, frozen=True):
    """What a server keeps of its image. `kernel` and `ramdisk` are the images that boot it directly, if any."""

    id: str
    disk_format: str
    size_bytes: int = 0
    hash_algo: str = ""
    hash_value: str = ""
    min_ram_mib: int = 0
    min_disk_gib: int = 0
    properties: dict[str, str] = {}
    kernel: ImageCopy | None = None
    ramdisk: ImageCopy | None = None


class PublicKey(msgspec.Struct, frozen=True):
    """A server's own copy of its key pair's public half."""

    name: str
    type: str
    public_key: str


class VifAddress(msgspec.Struct, frozen=True):
    """A fixed address of an interface, with the floating ones that lead to it."""

    address: str
    version: int
    subnet_id: str = ""
    floating: tuple[str, ...] = ()


class Vif(msgspec.Struct, frozen=True):
    """A network interface as the network service described it last. `created`: made by compute, so deleted by it."""

    port_id: str
    mac: str
    network_id: str
    network_name: str
    mtu: int = 1500
    status: str = "DOWN"
    tag: str | None = None
    created: bool = True
    addresses: tuple[VifAddress, ...] = ()
    security_groups: tuple[str, ...] = ()


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table. Times are aware UTC; sizes carry their unit in the name."""

    id: str
    project_id: str
    user_id: str
    name: str
    description: str | None
    hostname: str
    vm_state: str
    task_state: str | None
    power_state: int
    generation: int
    host: str | None
    node: str | None
    availability_zone: str | None
    pinned_zone: str | None
    flavor_id: str
    flavor: FlavorCopy
    vcpus: int
    ram_mib: int
    image_id: str | None
    image: ImageCopy | None
    key_name: str | None
    public_key: PublicKey | None
    user_data: str | None
    config_drive: bool
    metadata: dict[str, str]
    network_info: tuple[Vif, ...]
    scheduler_hints: dict[str, Any]
    server_group_id: str | None
    access_ip_v4: str | None
    access_ip_v6: str | None
    disk_config: str
    locked_by: str | None
    locked_reason: str | None
    reservation_id: str
    launch_index: int
    instance_name: str | None
    root_device: str | None
    created_at: datetime
    updated_at: datetime
    launched_at: datetime | None
    terminated_at: datetime | None
    deleted_at: datetime | None

    @property
    def status(self) -> str:
        """What users read."""
        return states.status_of(self.vm_state, self.task_state)


_LIVE = SERVERS.c.deleted_at.is_(None)
# Made once: the most frequent statement of all.
_GET_ANY = select(SERVERS).where(SERVERS.c.id == bindparam("server_id"))
_GET_LIVE = _GET_ANY.where(_LIVE)


def from_row(row: Any) -> Server:
    """A row of `SERVERS` as a struct."""
    values = dict(row._mapping)
    values["flavor"] = msgspec.convert(values["flavor"], FlavorCopy)
    values["network_info"] = msgspec.convert(values["network_info"], tuple[Vif, ...])
    if values["image"] is not None:
        values["image"] = msgspec.convert(values["image"], ImageCopy)
    if values["public_key"] is not None:
        values["public_key"] = msgspec.convert(values["public_key"], PublicKey)
    return Server(**values)


def insert(tx: Tx, server: Server) -> None:
    """Add one server."""
    tx.execute(SERVERS.insert(), msgspec.structs.asdict(server))


def get(tx: Tx, server_id: str, *, deleted: bool = False) -> Server | None:
    """A server by id, or None. Deleted ones only when asked for."""
    row = tx.execute(_GET_ANY if deleted else _GET_LIVE, {"server_id": server_id}).first()
    return None if row is None else from_row(row)


def change(tx: Tx, server_id: str, **values: Any) -> bool:
    """Set columns of a live server. False when there is none."""
    values.setdefault("updated_at", tx.now())
    return tx.execute(update(SERVERS).where(SERVERS.c.id == server_id, _LIVE).values(**values)).rowcount == 1


def begin(tx: Tx, server_id: str, action: str, **values: Any) -> Server:
    """Begin an action: check that the state allows it, set its task and raise the generation. Returns the new row.

    `action` is a key of `states.TRANSITIONS`. The transaction holds the write lock, so read-check-write is one swap;
    on engines with row locks the generation in the condition makes it one.
    """
    server = get(tx, server_id)
    if server is None:
        raise ServerNotFound(server_id=server_id)
    rule = states.TRANSITIONS[action]
    if rule.vm_states is not None and server.vm_state not in rule.vm_states:
        raise _conflict(rule, server_id, "vm_state", server.vm_state)
    if rule.task_states is not None and server.task_state not in rule.task_states:
        raise _conflict(rule, server_id, "task_state", str(server.task_state))
    if rule.needs_host and server.host is None:
        raise ServerNotReady(server_id=server_id)
    if not rule.ends and FLOWS.cleaning_up(tx, server_id):
        raise ServerBeingCleanedUp(action=rule.word, server_id=server_id)
    changed = {"task_state": rule.task, "generation": server.generation + 1, "updated_at": tx.now(), **values}
    swapped = tx.execute(
        update(SERVERS).where(SERVERS.c.id == server_id, SERVERS.c.generation == server.generation, _LIVE)
        .values(**changed)
    )
    if swapped.rowcount != 1:
        raise _conflict(rule, server_id, "task_state", str(server.task_state))
    return msgspec.structs.replace(server, **changed)


def _conflict(rule: states.Transition, server_id: str, attribute: str, state: str) -> ServerStateConflict:
    return ServerStateConflict(action=rule.word, server_id=server_id, attribute=attribute, state=state)


def finish(tx: Tx, server_id: str, generation: int, **values: Any) -> bool:
    """End an action, unless a newer intent has taken over. Clears the task."""
    values = {"task_state": None, "updated_at": tx.now(), **values}
    result = tx.execute(
        update(SERVERS).where(SERVERS.c.id == server_id, SERVERS.c.generation == generation, _LIVE).values(**values)
    )
    return result.rowcount == 1


def fail(tx: Tx, server_id: str, generation: int, fault: faults.NewFault, **values: Any) -> None:
    """End an action in ERROR with a fault that the user can read."""
    if finish(tx, server_id, generation, **{"vm_state": states.ERROR, **values}):
        faults.insert(tx, server_id, fault)


def mark_deleted(tx: Tx, server_id: str) -> None:
    """The server is gone. The row stays for usage and history until it is pruned."""
    now = tx.now()
    tx.execute(
        update(SERVERS).where(SERVERS.c.id == server_id, _LIVE).values(
            vm_state=states.DELETED, task_state=None, power_state=states.NO_STATE, network_info=(), user_data=None,
            terminated_at=now, deleted_at=now, updated_at=now,
        )
    )
    tags.replace(tx, server_id, ())


def prune(tx: Tx, before: datetime, limit: int = 1_000) -> int:
    """Forget servers deleted before a time, at most `limit`."""
    ids = [row.id for row in tx.all(select(SERVERS.c.id).where(SERVERS.c.deleted_at < before).limit(limit))]
    faults.forget(tx, ids)
    tx.execute(delete(SERVERS).where(SERVERS.c.id.in_(ids)))
    return len(ids)


# -- what quotas count ---------------------------------------------------------------------------------------------


def count_of_project(tx: Tx, project_id: str) -> int:
    """Live servers of a project."""
    return tx.scalar(select(func.count()).select_from(SERVERS).where(SERVERS.c.project_id == project_id, _LIVE)) or 0


def cores_of_project(tx: Tx, project_id: str) -> int:
    """Virtual processors of a project's live servers."""
    return tx.scalar(select(func.sum(SERVERS.c.vcpus)).where(SERVERS.c.project_id == project_id, _LIVE)) or 0


def ram_of_project(tx: Tx, project_id: str) -> int:
    """Memory of a project's live servers, MiB."""
    return tx.scalar(select(func.sum(SERVERS.c.ram_mib)).where(SERVERS.c.project_id == project_id, _LIVE)) or 0


# -- by host -------------------------------------------------------------------------------------------------------


def of_host(tx: Tx, host: str) -> list[Server]:
    """Live servers placed on a host."""
    return [from_row(row) for row in tx.all(select(SERVERS).where(SERVERS.c.host == host, _LIVE))]


def hosts_of(tx: Tx, ids: Iterable[str]) -> dict[str, str]:
    """The hosts of those of these servers that are placed."""
    rows = tx.all(select(SERVERS.c.id, SERVERS.c.host).where(SERVERS.c.id.in_(list(ids)), _LIVE))
    return {row.id: row.host for row in rows if row.host}


def ids_after(tx: Tx, after: str, limit: int) -> list[str]:
    """Live servers in order of their ids, after one."""
    rows = tx.all(select(SERVERS.c.id).where(SERVERS.c.id > after, _LIVE).order_by(SERVERS.c.id).limit(limit))
    return [row.id for row in rows]


def resting_ids(tx: Tx, ids: Iterable[str]) -> list[str]:
    """Which of these servers are there and have nothing done to them."""
    rows = tx.all(select(SERVERS.c.id).where(SERVERS.c.id.in_(list(ids)), SERVERS.c.task_state.is_(None), _LIVE))
    return [row.id for row in rows]


def busy_ids(tx: Tx, ids: Iterable[str]) -> list[str]:
    """Which of these servers are there and have something done to them."""
    rows = tx.all(select(SERVERS.c.id).where(SERVERS.c.id.in_(list(ids)), SERVERS.c.task_state.is_not(None), _LIVE))
    return [row.id for row in rows]
