"""Payloads survive packing, stay small, and rubbish is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.services.identity.logic.token_payload import (
    DOMAIN,
    METHODS,
    PROJECT,
    SYSTEM,
    UNSCOPED,
    MalformedPayload,
    TokenPayload,
    new_audit_id,
    pack,
    unpack,
)

NOW = datetime(2026, 5, 4, 3, 2, 1, 123_456, UTC)
IDS = st.one_of(st.uuids().map(lambda value: value.hex), st.text(min_size=1, max_size=64).filter(lambda s: s.isascii()))


@given(
    user_id=IDS, scope_id=st.one_of(st.none(), IDS), kind=st.sampled_from((UNSCOPED, DOMAIN, PROJECT, SYSTEM)),
    methods=st.lists(st.sampled_from(METHODS), min_size=1, unique=True),
    issued=st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
    chained=st.booleans(),
)
def test_round_trip(user_id, scope_id, kind, methods, issued, chained) -> None:
    payload = TokenPayload(
        user_id=user_id, methods=tuple(sorted(methods, key=METHODS.index)), scope_kind=kind, scope_id=scope_id,
        issued_at=issued, expires_at=issued.replace(microsecond=0) + timedelta(hours=1),
        audit_ids=tuple(new_audit_id() for _ in range(1 + chained)),
    )
    assert unpack(pack(payload)) == payload


def test_the_usual_payload_is_small() -> None:
    payload = TokenPayload(
        user_id="a" * 32, methods=("password", "token"), scope_kind=PROJECT, scope_id="b" * 32, issued_at=NOW,
        expires_at=NOW.replace(microsecond=0), audit_ids=(new_audit_id(), new_audit_id()),
    )
    assert len(pack(payload)) < 112, "more would make the sealed token 255 characters or longer"


@given(st.binary(max_size=200))
def test_rubbish_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedPayload):
        unpack(raw)
