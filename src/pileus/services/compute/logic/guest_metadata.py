"""What a guest may read about itself: the EC2-style tree and the OpenStack documents, for the metadata service and for
config drives alike.

Paths and field names are those of the public metadata API, which cloud-init and its kin read.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from typing import Any

import msgspec

from pileus.services.compute.clients.network import Subnet
from pileus.services.compute.db.servers import Server
from pileus.services.compute.logic.network_data import network_data

EC2_VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
    "2009-04-04", "latest",
)
OPENSTACK_VERSIONS = (
    "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22", "2018-08-27",
    "2020-10-14", "latest",
)
RANDOM_SEED_BYTES = 512

Tree = dict[str, Any]
"""Names to sub-trees (dict), texts or bytes."""


class Document(msgspec.Struct, frozen=True):
    """One answer."""

    content: bytes
    media_type: str


def lookup(server: Server, subnets: Iterable[Subnet], path: str) -> Document | None:
    """The document at a path, or None. A folder answers with the list of what is in it."""
    segments = [part for part in path.split("/") if part]
    if segments and segments[0] == "openstack":
        return _openstack(server, subnets, segments[1:])
    if not segments:
        return _text("\n".join(EC2_VERSIONS))
    if segments[0] not in EC2_VERSIONS:
        return None
    return _walk(ec2_tree(server), segments[1:])


def config_drive_files(server: Server, subnets: Iterable[Subnet]) -> dict[str, bytes]:
    """Files of a config drive by path."""
    files: dict[str, bytes] = {}
    for version in ("latest", OPENSTACK_VERSIONS[-2]):
        for name, content in _documents(server, subnets).items():
            files[f"openstack/{version}/{name}"] = content
    tree = ec2_tree(server)
    files["ec2/latest/meta-data.json"] = msgspec.json.encode(_without_names(tree["meta-data"]))
    if server.user_data:
        files["ec2/latest/user-data"] = base64.b64decode(server.user_data)
    return files


# -- OpenStack documents ---------------------------------------------------------------------------------------------


def _openstack(server: Server, subnets: Iterable[Subnet], segments: list[str]) -> Document | None:
    if not segments:
        return _text("\n".join(OPENSTACK_VERSIONS))
    if segments[0] not in OPENSTACK_VERSIONS or len(segments) > 2:
        return None
    documents = _documents(server, subnets)
    if len(segments) == 1:
        return _text("\n".join(documents))
    content = documents.get(segments[1])
    if content is None:
        return None
    return Document(content, "application/json" if segments[1].endswith(".json") else "application/octet-stream")


def _documents(server: Server, subnets: Iterable[Subnet]) -> dict[str, bytes]:
    documents = {"meta_data.json": msgspec.json.encode(_meta_data(server))}
    if server.user_data:
        documents["user_data"] = base64.b64decode(server.user_data)
    documents["vendor_data.json"] = b"{}"
    documents["network_data.json"] = msgspec.json.encode(network_data(server.network_info, subnets))
    documents["vendor_data2.json"] = b"{}"
    return documents


def _meta_data(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = {
        "uuid": server.id,
        "name": server.name,
        "hostname": server.hostname,
        "launch_index": server.launch_index,
        "availability_zone": server.availability_zone,
        "project_id": server.project_id,
        "random_seed": base64.b64encode(secrets.token_bytes(RANDOM_SEED_BYTES)).decode(),
        "devices": [
            {"type": "nic", "bus": "none", "address": "none", "mac": vif.mac, "tags": [vif.tag]}
            for vif in server.network_info
            if vif.tag
        ],
        "dedicated_cpus": [],
    }
    if server.metadata:
        found["meta"] = server.metadata
    if key := server.public_key:
        found["public_keys"] = {key.name: key.public_key}
        found["keys"] = [{"name": key.name, "type": key.type, "data": key.public_key}]
    return found


# -- EC2-style tree --------------------------------------------------------------------------------------------------


def ec2_tree(server: Server) -> Tree:
    """Everything below a version."""
    fixed = [a for vif in server.network_info for a in vif.addresses if a.version == 4]
    floating = [text for a in fixed for text in a.floating]
    data: Tree = {
        "ami-id": _ec2_id("ami", server.image_id),
        "ami-launch-index": str(server.launch_index),
        "ami-manifest-path": f"{server.image_id or ''}.manifest.xml",
        "block-device-mapping": {"ami": "vda", "root": server.root_device or "/dev/vda"},
        "hostname": server.hostname,
        "instance-action": "none",
        "instance-id": _ec2_id("i", server.id),
        "instance-type": server.flavor.name,
        "local-hostname": server.hostname,
        "local-ipv4": fixed[0].address if fixed else "",
        "placement": {"availability-zone": server.availability_zone or ""},
        "public-hostname": server.hostname,
        "public-ipv4": floating[0] if floating else "",
        "reservation-id": server.reservation_id,
        "security-groups": "\n".join(dict.fromkeys(g for vif in server.network_info for g in vif.security_groups)),
    }
    if key := server.public_key:
        data["public-keys"] = {"0": {"_name": f"0={key.name}", "openssh-key": key.public_key}}
    if server.image and server.image.kernel:
        data["kernel-id"] = _ec2_id("aki", server.image.kernel.id)
    if server.image and server.image.ramdisk:
        data["ramdisk-id"] = _ec2_id("ari", server.image.ramdisk.id)
    tree: Tree = {"meta-data": data}
    if server.user_data:
        tree["user-data"] = base64.b64decode(server.user_data)
    return tree


def _ec2_id(prefix: str, uuid: str | None) -> str:
    return f"{prefix}-{uuid.replace('-', '')[:8]}" if uuid else ""


def _walk(tree: Tree, segments: list[str]) -> Document | None:
    found: Any = tree
    for segment in segments:
        if not isinstance(found, dict) or segment not in found or segment.startswith("_"):
            return None
        found = found[segment]
    if isinstance(found, bytes):
        return Document(found, "application/octet-stream")
    if isinstance(found, dict):
        names = [_listed(name, inner) for name, inner in sorted(found.items()) if not name.startswith("_")]
        return _text("\n".join(names))
    return _text(found)


def _listed(name: str, inner: Any) -> str:
    if not isinstance(inner, dict):
        return name
    return inner.get("_name") or name + "/"


def _without_names(tree: Tree) -> Tree:
    plain = {name: inner for name, inner in tree.items() if not name.startswith("_")}
    return {name: _without_names(inner) if isinstance(inner, dict) else inner for name, inner in plain.items()}


def _text(content: str) -> Document:
    return Document(content.encode(), "text/plain; charset=UTF-8")
