"""Host aggregates, for administrators."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest, Conflict, NotFound
from pileus.kernel.http import Call, Reply, Route
from pileus.services.compute.api import values
from pileus.services.compute.db import aggregates, hypervisors, servers
from pileus.services.compute.db.aggregates import ZONE_KEY, Aggregate
from pileus.services.compute.errors import AggregateNotFound


class CreateAggregate(msgspec.Struct, forbid_unknown_fields=True):
    name: values.Name
    availability_zone: values.Name | None = None


class UpdateAggregate(msgspec.Struct, forbid_unknown_fields=True):
    name: values.Name | None = None
    availability_zone: values.Name | msgspec.UnsetType | None = msgspec.UNSET


class Host(msgspec.Struct, forbid_unknown_fields=True):
    host: values.Name


class SetMetadata(msgspec.Struct, forbid_unknown_fields=True):
    metadata: dict[str, str | None]


def _view(item: Aggregate, call: Call[Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": item.id, "name": item.name, "availability_zone": item.zone, "hosts": item.hosts,
        "metadata": item.metadata,
        "created_at": values.exact_time(item.created_at), "updated_at": values.exact_time(item.updated_at),
        "deleted": False, "deleted_at": None,
    }
    if call.at_least("2.41"):
        shown["uuid"] = item.uuid
    return shown


def _get(tx: Tx, aggregate_id: str) -> Aggregate:
    item = aggregates.get(tx, aggregate_id)
    if item is None:
        raise AggregateNotFound(aggregate_id=aggregate_id[:64])
    return item


def _check_zone(zone: str | None) -> None:
    if zone is not None and (":" in zone or zone != zone.strip()):
        raise BadRequest(f"Invalid input for field/attribute availability_zone. Value: {zone[:80]}.")


def _check_moves(tx: Tx, item: Aggregate, zone: str | None) -> None:
    """A host is in one zone, and does not change it while it has servers."""
    for host in item.hosts:
        _check_host(tx, item, host, zone)


def _check_host(tx: Tx, item: Aggregate, host: str, zone: str | None) -> None:
    others = {a.zone for a in aggregates.all_rows(tx) if a.id != item.id and a.zone and host in a.hosts}
    if zone is not None and others - {zone}:
        already = ", ".join(sorted(map(str, others)))
        raise Conflict(f"Cannot add host {host} to the availability zone {zone}: it already is in {already}.")
    new = zone or next(iter(others), None) or aggregates.DEFAULT_ZONE
    if new != aggregates.zone_of(tx, host) and servers.of_host(tx, host):
        raise Conflict(f"Cannot move host {host} to another availability zone: it has instances.")


async def list_aggregates(call: Call[None]) -> dict[str, Any]:
    """All."""
    return {"aggregates": [_view(item, call) for item in await call.rt.db.read(aggregates.all_rows)]}


async def show_aggregate(call: Call[None]) -> dict[str, Any]:
    """One."""
    return {"aggregate": _view(await call.rt.db.read(_get, call.path["aggregate_id"]), call)}


async def create_aggregate(call: Call[CreateAggregate]) -> dict[str, Any]:
    """A new one, without hosts."""
    name, zone = values.name(call.body.name), call.body.availability_zone
    _check_zone(zone)

    def write(tx: Tx) -> Aggregate:
        if any(item.name == name for item in aggregates.all_rows(tx)):
            raise Conflict(f"Aggregate {name} already exists.")
        return aggregates.insert(tx, name, zone)

    shown = _view(await call.rt.db.write(write), call)
    # A new aggregate is shown without what it cannot have yet.
    return {"aggregate": {key: value for key, value in shown.items() if key not in ("hosts", "metadata")}}


async def update_aggregate(call: Call[UpdateAggregate]) -> dict[str, Any]:
    """Rename it, or make it another zone."""
    body = call.body
    if body.name is None and not values.given(body.availability_zone):
        raise BadRequest("Invalid input for field/attribute aggregate. Neither name nor availability_zone is given.")

    def write(tx: Tx) -> Aggregate:
        item = _get(tx, call.path["aggregate_id"])
        if body.name is not None:
            if any(other.name == body.name and other.id != item.id for other in aggregates.all_rows(tx)):
                raise Conflict(f"Aggregate {body.name} already exists.")
            aggregates.change(tx, item.id, name=values.name(body.name))
        if isinstance(body.availability_zone, str | None):
            _check_zone(body.availability_zone)
            _set_metadata(tx, item, {ZONE_KEY: body.availability_zone})
        return _get(tx, call.path["aggregate_id"])

    return {"aggregate": _view(await call.rt.db.write(write), call)}


def _set_metadata(tx: Tx, item: Aggregate, changes: dict[str, str | None]) -> None:
    if ZONE_KEY in changes:
        _check_zone(changes[ZONE_KEY])
        _check_moves(tx, item, changes[ZONE_KEY])
    merged = {key: value for key, value in (item.metadata | changes).items() if value is not None}
    aggregates.change(tx, item.id, metadata=merged)


async def delete_aggregate(call: Call[None]) -> Reply:
    """Only an empty one."""

    def write(tx: Tx) -> None:
        item = _get(tx, call.path["aggregate_id"])
        if item.hosts:
            raise BadRequest(f"Cannot remove aggregate {item.id}: it is not empty.")
        aggregates.remove(tx, item.id)

    await call.rt.db.write(write)
    return Reply(None)


async def add_host(call: Call[Host]) -> dict[str, Any]:
    """A host that is known joins."""
    host = call.body.host

    def write(tx: Tx) -> Aggregate:
        item = _get(tx, call.path["aggregate_id"])
        if hypervisors.of_host(tx, host) is None:
            raise NotFound(f"Compute host {host} could not be found.")
        if host in item.hosts:
            raise Conflict(f"Aggregate {item.id} already has host {host}.")
        if item.zone is not None:
            _check_host(tx, item, host, item.zone)
        aggregates.change(tx, item.id, hosts=[*item.hosts, host])
        return _get(tx, call.path["aggregate_id"])

    return {"aggregate": _view(await call.rt.db.write(write), call)}


async def remove_host(call: Call[Host]) -> dict[str, Any]:
    """A host leaves."""
    host = call.body.host

    def write(tx: Tx) -> Aggregate:
        item = _get(tx, call.path["aggregate_id"])
        if host not in item.hosts:
            raise NotFound(f"Aggregate {item.id} has no host {host}.")
        if item.zone is not None:
            _check_host(tx, item, host, None)
        aggregates.change(tx, item.id, hosts=[other for other in item.hosts if other != host])
        return _get(tx, call.path["aggregate_id"])

    return {"aggregate": _view(await call.rt.db.write(write), call)}


async def set_metadata(call: Call[SetMetadata]) -> dict[str, Any]:
    """Set values; null removes."""
    for key, value in call.body.metadata.items():
        values.metadata({key: value or ""})

    def write(tx: Tx) -> Aggregate:
        item = _get(tx, call.path["aggregate_id"])
        _set_metadata(tx, item, call.body.metadata)
        return _get(tx, call.path["aggregate_id"])

    return {"aggregate": _view(await call.rt.db.write(write), call)}


_RULE = "os_compute_api:os-aggregates"
_PATH = "/v2.1/os-aggregates"
_ITEM = _PATH + "/{aggregate_id}"

ROUTES = (
    Route(method="GET", path=_PATH, handler=list_aggregates, policy=f"{_RULE}:index"),
    Route(method="POST", path=_PATH, handler=create_aggregate, policy=f"{_RULE}:create", body=CreateAggregate,
          envelope="aggregate"),
    Route(method="GET", path=_ITEM, handler=show_aggregate, policy=f"{_RULE}:show"),
    Route(method="PUT", path=_ITEM, handler=update_aggregate, policy=f"{_RULE}:update", body=UpdateAggregate,
          envelope="aggregate"),
    Route(method="DELETE", path=_ITEM, handler=delete_aggregate, policy=f"{_RULE}:delete"),
    Route(method="POST", path=_ITEM + "/action", action="add_host", handler=add_host, policy=f"{_RULE}:add_host",
          body=Host),
    Route(method="POST", path=_ITEM + "/action", action="remove_host", handler=remove_host,
          policy=f"{_RULE}:remove_host", body=Host),
    Route(method="POST", path=_ITEM + "/action", action="set_metadata", handler=set_metadata,
          policy=f"{_RULE}:set_metadata", body=SetMetadata),
)
