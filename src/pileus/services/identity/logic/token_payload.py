"""What a token carries, packed small: version, user, methods, scope, times, audit ids. Roles and names are not in it.

Ids begin with a byte that says how they are written: hex uuids as 16 bytes, others as text.
Later versions (trusts, application credentials) get numbers of their own.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from datetime import UTC, datetime

import msgspec

METHODS = ("password", "token")
UNSCOPED, DOMAIN, PROJECT, SYSTEM = 0, 1, 2, 4

AUDIT_ID_BYTES = 16
_HEX_UUID = re.compile(r"^[0-9a-f]{32}$")
_AS_HEX, _AS_TEXT = b"\0", b"\1"


class MalformedPayload(ValueError):
    """Not the content of a token of ours."""


class TokenPayload(msgspec.Struct, frozen=True, kw_only=True):
    """A token's content. scope_kind: UNSCOPED, DOMAIN, PROJECT or SYSTEM; scope_id: of a domain or project.

    audit_ids: this token's own and, for one got with another token, that of the first in the chain. expires_at is in
    whole seconds. Times are aware UTC.
    """

    user_id: str
    methods: tuple[str, ...]
    scope_kind: int = UNSCOPED
    scope_id: str | None = None
    issued_at: datetime
    expires_at: datetime
    audit_ids: tuple[str, ...]


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    version: int
    user_id: bytes
    methods: int
    scope_id: bytes | None
    issued_us: int
    expires_s: int
    audit_ids: tuple[bytes, ...]


def new_audit_id() -> str:
    """A random audit id."""
    return _text(secrets.token_bytes(AUDIT_ID_BYTES))


def pack(payload: TokenPayload) -> bytes:
    """As bytes."""
    methods = sum(1 << METHODS.index(method) for method in set(payload.methods))
    issued = payload.issued_at.replace(microsecond=0)
    packed = _Packed(
        payload.scope_kind, _short(payload.user_id), methods,
        None if payload.scope_id is None else _short(payload.scope_id),
        int(issued.timestamp()) * 1_000_000 + payload.issued_at.microsecond, int(payload.expires_at.timestamp()),
        tuple(base64.urlsafe_b64decode(audit_id + "==") for audit_id in payload.audit_ids),
    )
    return msgspec.msgpack.encode(packed)


def unpack(raw: bytes) -> TokenPayload:
    """From bytes. Raises `MalformedPayload`."""
    try:
        packed = msgspec.msgpack.decode(raw, type=_Packed)
        if packed.version not in (UNSCOPED, DOMAIN, PROJECT, SYSTEM) or not packed.audit_ids:
            raise MalformedPayload("unknown version")
        seconds, micros = divmod(packed.issued_us, 1_000_000)
        return TokenPayload(
            user_id=_long(packed.user_id),
            methods=tuple(method for bit, method in enumerate(METHODS) if packed.methods >> bit & 1),
            scope_kind=packed.version,
            scope_id=None if packed.scope_id is None else _long(packed.scope_id),
            issued_at=datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros),
            expires_at=datetime.fromtimestamp(packed.expires_s, UTC),
            audit_ids=tuple(_text(raw_id) for raw_id in packed.audit_ids),
        )
    except (msgspec.MsgspecError, ValueError, OverflowError, OSError, binascii.Error) as error:
        raise MalformedPayload(str(error)) from None


def _short(identifier: str) -> bytes:
    return _AS_HEX + bytes.fromhex(identifier) if _HEX_UUID.match(identifier) else _AS_TEXT + identifier.encode()


def _long(packed: bytes) -> str:
    kind, content = packed[:1], packed[1:]
    return content.hex() if kind == _AS_HEX else content.decode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
