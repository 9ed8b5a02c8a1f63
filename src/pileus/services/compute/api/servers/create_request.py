"""Accepting a request for new servers: every check that needs no host, then one transaction that writes the intent."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import secrets
import string
from datetime import datetime
from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call
from pileus.kernel.quota import UNLIMITED
from pileus.services.compute import states
from pileus.services.compute.api import values
from pileus.services.compute.api.servers import boot_networks, boot_source
from pileus.services.compute.api.servers.bodies import NewServer
from pileus.services.compute.api.servers.boot_networks import Wiring
from pileus.services.compute.db import FLOWS, aggregates, flavors, hypervisors, keypairs, server_groups, servers, tags
from pileus.services.compute.db.quota_classes import ClassQuotas
from pileus.services.compute.db.servers import USER_DATA_CHARS, FlavorCopy, ImageCopy, PublicKey, Server
from pileus.services.compute.errors import (
    InvalidInput,
    QuotaExceeded,
    ServerGroupNotFound,
    TooManyMetadataItems,
    UnknownAvailabilityZone,
    UnknownFlavor,
    UnknownHost,
    UnknownKeyName,
)
from pileus.services.compute.flows import create_server
from pileus.services.compute.logic import hostnames, zones
from pileus.services.compute.logic.zones import Placement

MAX_TAGS = 50
PASSWORD_CHARS = 12


class Accepted(msgspec.Struct, frozen=True):
    """What the answer names."""

    server_ids: list[str]
    reservation_id: str
    group_names: tuple[str, ...]
    admin_password: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that passed every check outside the transaction."""

    body: NewServer
    hints: dict[str, Any]
    flavor: FlavorCopy
    image: ImageCopy
    wiring: Wiring
    placement: Placement
    min_count: int
    max_count: int
    hostname: str | None
    tags: list[str]
    reservation_id: str


async def accept(call: Call[Any], body: NewServer, hints: dict[str, Any]) -> Accepted:
    """Check and write. The servers are in BUILD when this returns."""
    request = await _check(call, body, hints)
    ids = await call.rt.db.write(_write, call, request)
    letters = string.ascii_letters + string.digits
    password = body.adminPass or "".join(secrets.choice(letters) for _ in range(PASSWORD_CHARS))
    return Accepted(ids, request.reservation_id, request.wiring.group_names, password)


async def _check(call: Call[Any], body: NewServer, hints: dict[str, Any]) -> Checked:
    values.name(body.name)
    values.metadata(body.metadata)
    _refuse_unsupported(body)
    _check_user_data(body.user_data)
    for field, version in (("accessIPv4", 4), ("accessIPv6", 6)):
        check_address(getattr(body, field), field, version)
    low, high = _counts(body)
    hostname = None
    if isinstance(body.hostname, str):
        hostname = hostnames.checked(body.hostname, qualified=call.at_least("2.94"))
    placement = _placement(call, body)
    wanted_tags = check_tags(body.tags) if isinstance(body.tags, list) else []
    flavor = await _flavor(call, body)
    image = await boot_source.resolve(call, body, flavor)
    wiring = await boot_networks.resolve(call, body, high)
    reservation = "r-" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))
    return Checked(
        body=body, hints=_check_hints(hints), flavor=flavor, image=image, wiring=wiring, placement=placement,
        min_count=low, max_count=high, hostname=hostname, tags=wanted_tags, reservation_id=reservation,
    )


def _refuse_unsupported(body: NewServer) -> None:
    if isinstance(body.personality, list) and body.personality:
        raise BadRequest("File injection (personality) is not supported; use user_data.")
    if isinstance(body.trusted_image_certificates, list):
        raise BadRequest("Trusted image certificates are not supported.")


def _check_user_data(text: str | None) -> None:
    if text is None:
        return
    if len(text) > USER_DATA_CHARS:
        raise BadRequest(f"User data too large. User data must be no larger than {USER_DATA_CHARS} bytes once base64 "
                         f"encoded. Your data is {len(text)} bytes")
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("Invalid input for field/attribute user_data. It is not 'base64'.") from None


def check_address(text: str | None, field: str, version: int) -> None:
    """An address of that IP version, or nothing."""
    if not text:
        return
    try:
        good = ipaddress.ip_address(text).version == version
    except ValueError:
        good = False
    if not good:
        raise BadRequest(
            f"Invalid input for field/attribute {field}. Value: {text[:80]}. It is not an IPv{version} address."
        )


def check_tags(given: list[str]) -> list[str]:
    """Tags without repetition, each one word without slash or comma."""
    found = list(dict.fromkeys(given))
    if len(found) > MAX_TAGS:
        raise BadRequest(f"Invalid input for field/attribute tags. A server has at most {MAX_TAGS} tags.")
    for tag in found:
        if not tag or len(tag) > 60 or "/" in tag or "," in tag:
            raise BadRequest(f"Invalid input for field/attribute tags. Value: {tag[:80]}.")
    return found


def _counts(body: NewServer) -> tuple[int, int]:
    low = values.number(body.min_count, "min_count", minimum=1) if body.min_count is not None else 1
    high = values.number(body.max_count, "max_count", minimum=1) if body.max_count is not None else low
    if low > high:
        raise BadRequest("min_count must be <= max_count")
    return low, high


def _placement(call: Call[Any], body: NewServer) -> Placement:
    placement = zones.parse(body.availability_zone)
    if placement.forced:
        call.enforce("os_compute_api:servers:create:forced_host")
    host = body.host if isinstance(body.host, str) else None
    node = body.hypervisor_hostname if isinstance(body.hypervisor_hostname, str) else None
    if host or node:
        call.enforce("compute:servers:create:requested_destination")
        if placement.forced:
            raise BadRequest("Invalid input: a host may be named in availability_zone or in host, not in both.")
        placement = Placement(placement.zone, host, node)
    return placement


def _check_hints(hints: dict[str, Any]) -> dict[str, Any]:
    group = hints.get("group")
    if group is not None and not isinstance(group, str):
        raise BadRequest("Invalid input for field/attribute group. It is not a string.")
    for key in ("same_host", "different_host"):
        value = hints.get(key, [])
        named = [value] if isinstance(value, str) else value
        if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
            raise BadRequest(f"Invalid input for field/attribute {key}. It is neither a string nor a list of strings.")
    if len(msgspec.json.encode(hints)) > 4_096:
        raise BadRequest("The scheduler hints are too long.")
    return hints


async def _flavor(call: Call[Any], body: NewServer) -> FlavorCopy:
    flavor_id = str(body.flavorRef).rstrip("/").rsplit("/", 1)[-1]
    project = None if call.allows("context_is_admin") else call.context.project_id
    found = await call.rt.db.read(flavors.get_usable, flavor_id, project)
    if found is None or found.disabled:
        raise UnknownFlavor(flavor_id=flavor_id[:255])
    return found.copy()


# -- the transaction -----------------------------------------------------------------------------------------------


def _write(tx: Tx, call: Call[Any], request: Checked) -> list[str]:
    """All rows and flows of one request, or none."""
    context, body = call.context, request.body
    quotas = call.rt.get(ClassQuotas)
    limits = quotas.limits(tx, context.project_id or "")
    if UNLIMITED != limits["metadata_items"] < len(body.metadata):
        raise TooManyMetadataItems(limit=limits["metadata_items"])
    count = _affordable(tx, quotas, context.project_id or "", request)
    _check_places(tx, request.placement)
    key = keypairs.get(tx, context.user_id or "", body.key_name) if body.key_name else None
    if body.key_name and key is None:
        raise UnknownKeyName()
    group_id = _group(tx, call, request.hints)
    ids = []
    for index in range(count):
        server = _server(tx, call, request, index, count, group_id)
        if key is not None:
            server = msgspec.structs.replace(server, public_key=PublicKey(key.name, key.type, key.public_key))
        servers.insert(tx, server)
        if request.tags:
            tags.replace(tx, server.id, request.tags)
        FLOWS.start(tx, create_server.FLOW, server.id, _flow_data(server, request), context)
        ids.append(server.id)
    return ids


def _affordable(tx: Tx, quotas: ClassQuotas, project_id: str, request: Checked) -> int:
    """How many of the wanted servers the quota allows: all, or fewer but at least min_count."""
    flavor = request.flavor
    each = {"instances": 1, "cores": flavor.vcpus, "ram": flavor.ram_mib}
    broken = quotas.exceeded(tx, project_id, {name: n * request.max_count for name, n in each.items()})
    room = min([max(0, item.limit - item.used) // each[item.name] for item in broken], default=request.max_count)
    if room < request.min_count:
        raise QuotaExceeded.of(broken, project_id)
    return room


def check_zone(tx: Tx, zone: str | None) -> None:
    """Raise `UnknownAvailabilityZone` unless it is one, or none is named."""
    if zone not in (None, aggregates.DEFAULT_ZONE, *aggregates.zones_by_host(tx).values()):
        raise UnknownAvailabilityZone()


def _check_places(tx: Tx, placement: Placement) -> None:
    check_zone(tx, placement.zone)
    if placement.host is not None and hypervisors.of_host(tx, placement.host) is None:
        raise UnknownHost(host=placement.host)
    if placement.node is not None and placement.node not in {
        item.report.hypervisor_hostname for item in hypervisors.all_rows(tx)
    }:
        raise UnknownHost(host=placement.node)


def _group(tx: Tx, call: Call[Any], hints: dict[str, Any]) -> str | None:
    group_id = hints.get("group")
    if group_id is None:
        return None
    found = server_groups.get(tx, group_id)
    if found is None or (found.project_id != call.context.project_id and not call.allows("context_is_admin")):
        raise BadRequest(ServerGroupNotFound(group_id=group_id).text)
    return found.id


def _server(tx: Tx, call: Call[Any], request: Checked, index: int, count: int, group_id: str | None) -> Server:
    body, context, now, server_id = request.body, call.context, tx.now(), tx.clock.new_id()
    suffix = f"-{index + 1}" if request.max_count > 1 else ""
    name = body.name + suffix
    if len(name) > 255:
        raise InvalidInput(reason="the name is too long for several servers")
    hostname = request.hostname + suffix if request.hostname else hostnames.from_name(name, server_id)
    return Server(
        id=server_id, project_id=context.project_id or "", user_id=context.user_id or "", name=name,
        description=_description(call, body, name),
        hostname=hostname, vm_state=states.BUILDING, task_state=states.SCHEDULING, power_state=states.NO_STATE,
        generation=1, host=None, node=None, availability_zone=None, pinned_zone=request.placement.zone,
        flavor_id=request.flavor.id, flavor=request.flavor, vcpus=request.flavor.vcpus, ram_mib=request.flavor.ram_mib,
        image_id=request.image.id, image=request.image, key_name=body.key_name, public_key=None,
        user_data=body.user_data, config_drive=body.config_drive is not None and _drive(body), metadata=body.metadata,
        network_info=(), scheduler_hints=request.hints, server_group_id=group_id, access_ip_v4=body.accessIPv4 or None,
        access_ip_v6=body.accessIPv6 or None, disk_config=body.disk_config, locked_by=None, locked_reason=None,
        reservation_id=request.reservation_id, launch_index=index, instance_name=None, root_device=None,
        created_at=_apart(now, index), updated_at=now, launched_at=None, terminated_at=None, deleted_at=None,
    )


def _description(call: Call[Any], body: NewServer, name: str) -> str | None:
    """Before 2.19 it could not be given and was the name."""
    if isinstance(body.description, str):
        return body.description
    return None if call.at_least("2.19") else name


def _apart(now: datetime, index: int) -> datetime:
    """Creation times of one request differ, so that lists keep the order of the names."""
    return now.replace(microsecond=min(now.microsecond + index, 999_999))


def _drive(body: NewServer) -> bool:
    text = body.config_drive
    return False if text in ("", None) else values.flag(text, "config_drive")


def _flow_data(server: Server, request: Checked) -> create_server.CreateServerData:
    place = request.placement
    return create_server.CreateServerData(
        server_id=server.id, generation=server.generation, nics=request.wiring.nics,
        group_ids=request.wiring.group_ids, group_names=request.wiring.group_names, zone=place.zone,
        requested_host=place.host, requested_node=place.node, forced=place.forced,
    )
