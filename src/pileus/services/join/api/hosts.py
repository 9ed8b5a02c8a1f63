"""A host asks to join: the token is used, and it gets what its roles need and no more."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import msgspec

from pileus.kernel.errors import ServiceError
from pileus.kernel.process import Runtime, secrets
from pileus.services.join import rpc
from pileus.services.join.config import JoinConfig
from pileus.services.join.db import tokens
from pileus.services.join.errors import UnfitHost, UnknownToken
from pileus.services.join.logic import authority, grant, join_token
from pileus.services.join.logic.authority import Authority, UnfitRequest

log = logging.getLogger(__name__)

MALFORMED = "the request is not one that this version of Pileus knows"


async def answer(rt: Runtime[JoinConfig], line: bytes, address: str) -> tuple[rpc.Answer, bool]:
    """The answer to one line from `address`; and whether it was a guess, which is to be slow."""
    try:
        request = msgspec.json.decode(line, type=rpc.Request)
    except msgspec.DecodeError:
        return rpc.Refusal(MALFORMED), True
    own = rt.get(Authority)
    if isinstance(request, rpc.AskAuthority):
        return rpc.Authority(own.certificate.decode()), False
    try:
        bundle = await _join(rt, own, request, address)
    except ServiceError as error:
        log.warning("a host at %s was not let in: %s", address, type(error).__name__)
        return rpc.Refusal(error.text), isinstance(error, UnknownToken)
    log.info("host %s at %s joined with token %s", request.host, address, request.token)
    return bundle, False


async def _join(rt: Runtime[JoinConfig], own: Authority, request: rpc.Join, address: str) -> rpc.Bundle:
    if not grant.HOST.fullmatch(request.host):
        raise UnfitHost(reason="a host's name has letters, digits, dots and dashes, 64 at most")
    try:
        signing, key_digest = authority.read_request(request.request)
    except UnfitRequest as error:
        raise UnfitHost(reason="the request for a certificate is not acceptable", detail=str(error)) from error
    granted = await rt.db.write(
        tokens.use, request.token, join_token.digest(request.secret), host=request.host, key_digest=key_digest,
        address=address,
    )  # fmt: skip
    config = rt.node.config
    known, key = _secrets(rt, granted)
    return rpc.Bundle(
        cloud=config.cloud, authority=own.certificate.decode(),
        certificate=own.admit(signing, request.host, rt.clock.now()).decode(),
        tables=grant.configuration(granted, rt.node.tables, cloud=config.cloud, region=config.region),
        secrets=known, cluster_key=key,
    )  # fmt: skip


def _secrets(rt: Runtime[JoinConfig], granted: grant.Grant) -> tuple[dict[str, str], str | None]:
    if not granted.is_controller:
        return {name: rt.node.secret(name) for name in granted.secrets}, None
    state_dir = Path(rt.node.config.state_dir)
    return secrets.overriding(state_dir), base64.b64encode(secrets.cluster_key(state_dir)).decode()
