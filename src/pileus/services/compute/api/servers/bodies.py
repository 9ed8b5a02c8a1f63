"""The bodies of server requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from pileus.kernel.http import versioned
from pileus.services.compute.api import values

UNSET = msgspec.UNSET
Unset: TypeAlias = msgspec.UnsetType


class NetworkRequest(msgspec.Struct, forbid_unknown_fields=True):
    """One interface: a network (with an address or without), or a port that exists."""

    uuid: values.Uuid | None = None
    port: values.Uuid | None = None
    fixed_ip: str | None = None
    tag: versioned(str | Unset, since="2.32") = UNSET  # type: ignore[valid-type]


class BlockDevice(msgspec.Struct, forbid_unknown_fields=True):
    """A disk, in the second form of the API."""

    boot_index: int | str | None = None
    source_type: Literal["volume", "image", "snapshot", "blank"] | None = None
    destination_type: Literal["volume", "local"] | None = None
    uuid: str | None = None
    delete_on_termination: values.Flag | None = None
    volume_size: values.Number | None = None
    device_name: str | None = None
    device_type: str | None = None
    disk_bus: str | None = None
    guest_format: str | None = None
    no_device: Any = None
    tag: versioned(str | Unset, since="2.32") = UNSET  # type: ignore[valid-type]
    volume_type: versioned(str | None | Unset, since="2.67") = UNSET  # type: ignore[valid-type]


class GroupName(msgspec.Struct, forbid_unknown_fields=True):
    name: values.Name


class File(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    contents: str


Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=60)]


class NewServer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: values.Name
    flavorRef: Annotated[str, msgspec.Meta(min_length=1)] | int
    imageRef: str | None = None
    adminPass: str | None = None
    metadata: dict[str, str] = {}
    networks: list[NetworkRequest] | Literal["auto", "none"] | Unset = UNSET
    security_groups: list[GroupName] = []
    key_name: values.Name | None = None
    user_data: str | None = None
    availability_zone: values.Text255 | None = None
    config_drive: values.Flag | None = None
    accessIPv4: str | None = None
    accessIPv6: str | None = None
    disk_config: Literal["AUTO", "MANUAL"] = msgspec.field(name="OS-DCF:diskConfig", default="MANUAL")
    min_count: values.Number | None = None
    max_count: values.Number | None = None
    return_reservation_id: values.Flag = False
    block_device_mapping: list[Any] | None = None
    block_device_mapping_v2: list[BlockDevice] | None = None
    personality: versioned(list[File] | Unset, until="2.56") = UNSET  # type: ignore[valid-type]
    description: versioned(values.Description | None | Unset, since="2.19") = UNSET  # type: ignore[valid-type]
    tags: versioned(list[Tag] | Unset, since="2.52") = UNSET  # type: ignore[valid-type]
    trusted_image_certificates: versioned(list[str] | None | Unset, since="2.63") = UNSET  # type: ignore[valid-type]
    host: versioned(values.Name | Unset, since="2.74") = UNSET  # type: ignore[valid-type]
    hypervisor_hostname: versioned(values.Name | Unset, since="2.74") = UNSET  # type: ignore[valid-type]
    hostname: versioned(values.Name | Unset, since="2.90") = UNSET  # type: ignore[valid-type]


class CreateServer(msgspec.Struct, forbid_unknown_fields=True):
    server: NewServer
    hints: dict[str, Any] = msgspec.field(name="os:scheduler_hints", default_factory=dict)
    old_hints: dict[str, Any] = msgspec.field(name="OS-SCH-HNT:scheduler_hints", default_factory=dict)


class UpdateServer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: values.Name | Unset = UNSET
    accessIPv4: str | Unset | None = UNSET
    accessIPv6: str | Unset | None = UNSET
    disk_config: Literal["AUTO", "MANUAL"] | Unset = msgspec.field(name="OS-DCF:diskConfig", default=UNSET)
    description: versioned(values.Description | None | Unset, since="2.19") = UNSET  # type: ignore[valid-type]
    hostname: versioned(values.Name | Unset, since="2.90") = UNSET  # type: ignore[valid-type]
    pinned_availability_zone: versioned(values.Text255 | None | Unset, since="2.104") = UNSET  # type: ignore[valid-type]
