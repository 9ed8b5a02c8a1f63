"""Key pairs of users."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Literal

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Reply, Route, versioned
from pileus.kernel.http.paging import next_url, parse_page
from pileus.services.compute.api import queries, values
from pileus.services.compute.db import keypairs
from pileus.services.compute.db.keypairs import KeyPair
from pileus.services.compute.db.quota_classes import ClassQuotas
from pileus.services.compute.errors import InvalidKeyPair, KeyPairExists, KeyPairNotFound, TooManyKeyPairs
from pileus.services.compute.logic import key_material

_NAME = re.compile(r"^[a-zA-Z0-9 _-]{1,255}$")
_NAME_292 = re.compile(r"^[a-zA-Z0-9 _.@-]{1,255}$")


class CreateKeyPair(msgspec.Struct, forbid_unknown_fields=True):
    name: values.Name
    public_key: str | msgspec.UnsetType = msgspec.UNSET
    type: versioned(Literal["ssh", "x509"] | msgspec.UnsetType, since="2.2") = msgspec.UNSET  # type: ignore[valid-type]
    user_id: versioned(str | msgspec.UnsetType, since="2.10") = msgspec.UNSET  # type: ignore[valid-type]


def view(pair: KeyPair, call: Call[Any]) -> dict[str, Any]:
    """What lists show of a key pair."""
    shown = {"name": pair.name, "public_key": pair.public_key, "fingerprint": pair.fingerprint}
    if call.at_least("2.2"):
        shown["type"] = pair.type
    return shown


def _owner(call: Call[Any], rule: str, asked: str | None) -> str:
    """Whose key pairs are meant: another user's only from 2.10 on, and only if policy lets the caller."""
    user_id = asked if asked and call.at_least("2.10") else call.context.user_id or ""
    call.enforce(f"os_compute_api:os-keypairs:{rule}", user_id=user_id)
    return user_id


async def list_keypairs(call: Call[None]) -> dict[str, Any]:
    """By name, in pages from 2.35 on."""
    queries.only(call, "user_id", "limit", "marker")
    user_id = _owner(call, "index", call.query.get("user_id"))
    page = parse_page(call.query)
    marker = page.marker if call.at_least("2.35") else None

    def read(tx: Tx) -> list[KeyPair]:
        if marker is not None and keypairs.get(tx, user_id, marker) is None:
            raise BadRequest(f"marker [{marker[:80]}] not found")
        return keypairs.page(tx, user_id, marker=marker, limit=page.limit)

    found = await call.rt.db.read(read)
    answer: dict[str, Any] = {"keypairs": [{"keypair": view(pair, call)} for pair in found]}
    if call.at_least("2.35") and page.asked_limit and len(found) == page.limit:
        href = next_url(f"{call.base_url}/v2.1/os-keypairs", call.query, found[-1].name)
        answer["keypairs_links"] = [{"rel": "next", "href": href}]
    return answer


async def show_keypair(call: Call[None]) -> dict[str, Any]:
    """One, with its times."""
    queries.only(call, "user_id")
    user_id, name = _owner(call, "show", call.query.get("user_id")), call.path["name"]
    pair = await call.rt.db.read(keypairs.get, user_id, name)
    if pair is None:
        raise KeyPairNotFound(name=name, user_id=user_id)
    shown = view(pair, call) | {
        "id": pair.id, "user_id": pair.user_id, "created_at": values.exact_time(pair.created_at), "updated_at": None,
        "deleted": False, "deleted_at": None,
    }
    return {"keypair": shown}


async def create_keypair(call: Call[CreateKeyPair]) -> Reply:
    """Import a public key, or (below 2.92) make a new pair and hand its private half out this once."""
    body = call.body
    asked = body.user_id if isinstance(body.user_id, str) else None
    user_id = _owner(call, "create", asked)
    name, kind = _checked_name(call), body.type if isinstance(body.type, str) else "ssh"
    private = None
    if isinstance(body.public_key, str):
        public = body.public_key.strip()
    else:
        if call.at_least("2.92"):
            raise BadRequest("Invalid input for field/attribute keypair. 'public_key' is a required property")
        if kind != "ssh":
            raise InvalidKeyPair(reason="x509 key pairs are not generated here; import the certificate's public key")
        private, public = await asyncio.to_thread(key_material.generate_ssh_key)
    fingerprint = key_material.fingerprint(kind, public)
    pair = await call.rt.db.write(_insert, call.rt.get(ClassQuotas), user_id, name, kind, public, fingerprint)
    shown = view(pair, call) | {"user_id": user_id} | ({"private_key": private} if private else {})
    return Reply({"keypair": shown}, status=201 if call.at_least("2.2") else 200)


def _checked_name(call: Call[CreateKeyPair]) -> str:
    name = call.body.name
    pattern = _NAME_292 if call.at_least("2.92") else _NAME
    if not pattern.match(name) or name != name.strip():
        raise BadRequest(f"Keypair data is invalid: Keypair name contains unsafe characters: {name[:80]}")
    return name


def _insert(tx: Tx, quotas: ClassQuotas, user_id: str, name: str, kind: str, public: str, fingerprint: str) -> KeyPair:
    if quotas.exceeded(tx, user_id, {"key_pairs": 1}):
        raise TooManyKeyPairs()
    if keypairs.get(tx, user_id, name) is not None:
        raise KeyPairExists(name=name)
    return keypairs.insert(tx, user_id, name, kind, public, fingerprint)


async def delete_keypair(call: Call[None]) -> Reply:
    """Servers made with it keep the public key."""
    queries.only(call, "user_id")
    user_id, name = _owner(call, "delete", call.query.get("user_id")), call.path["name"]
    if not await call.rt.db.write(keypairs.remove, user_id, name):
        raise KeyPairNotFound(name=name, user_id=user_id)
    return Reply(None, status=204 if call.at_least("2.2") else 202)


_RULE = "os_compute_api:os-keypairs"

ROUTES = (
    Route(method="GET", path="/v2.1/os-keypairs", handler=list_keypairs, policy=f"{_RULE}:index"),
    Route(method="POST", path="/v2.1/os-keypairs", handler=create_keypair, policy=f"{_RULE}:create",
          body=CreateKeyPair, envelope="keypair"),
    Route(method="GET", path="/v2.1/os-keypairs/{name}", handler=show_keypair, policy=f"{_RULE}:show"),
    Route(method="DELETE", path="/v2.1/os-keypairs/{name}", handler=delete_keypair, policy=f"{_RULE}:delete"),
)
