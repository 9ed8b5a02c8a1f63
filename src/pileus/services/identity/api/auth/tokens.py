"""POST, GET, HEAD, DELETE /v3/auth/tokens."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http import ANY_TOKEN, PUBLIC, Call, Reply, Route
from pileus.kernel.http.token_cache import GENERATION_HEADER
from pileus.services.identity.api.auth import view
from pileus.services.identity.api.auth.bodies import Auth, DomainRef, ProjectRef, Scope
from pileus.services.identity.api.auth.methods import Proof, check_reference, prove
from pileus.services.identity.api.auth.session import Tokens, revocation_kept_s, write_and_revoke
from pileus.services.identity.api.listing import is_true
from pileus.services.identity.db import endpoints, references, revocations, tokens
from pileus.services.identity.db.endpoints import CatalogEntry
from pileus.services.identity.db.tokens import TokenDetails
from pileus.services.identity.errors import InvalidCredentials, InvalidInput, ResourceNotFound
from pileus.services.identity.logic.token_payload import (
    DOMAIN,
    PROJECT,
    SYSTEM,
    UNSCOPED,
    TokenPayload,
    new_audit_id,
)

MAX_AUTH_BODY_BYTES = 65_536
SUBJECT_HEADER = "x-subject-token"


async def issue_token(call: Call[Auth]) -> Reply:
    """Authenticate and answer with a token for the asked scope."""
    check_scope(call.body.scope)
    # The token counts as issued before the proof was looked at: a password changed meanwhile revokes it.
    started = call.rt.clock.now()
    proof = await prove(call.rt, call.body)
    base = _payload(call, proof, started)
    with_catalog = "nocatalog" not in call.query
    found, entries = await call.rt.db.read(_scoped, base, call.body.scope, with_catalog)
    token = call.rt.get(Tokens).seal(found.payload)
    headers = {"X-Subject-Token": token, "Vary": "X-Auth-Token"}
    return Reply({"token": view.token_body(found, entries)}, headers=headers)


async def show_token(call: Call[None]) -> Reply:
    """What a token means now."""
    rule = "identity:check_token" if call.request.method == "HEAD" else "identity:validate_token"
    subject, found, number = await _subject(call, rule, allow_expired=is_true(call.query.get("allow_expired")))
    entries = None
    if "nocatalog" not in call.query and found.payload.scope_kind != UNSCOPED:
        entries = await call.rt.db.read(endpoints.catalog)
    headers = {"X-Subject-Token": subject, "Vary": "X-Auth-Token", GENERATION_HEADER: str(number)}
    return Reply({"token": view.token_body(found, entries)}, headers=headers)


async def revoke_token(call: Call[None]) -> None:
    """Make one token invalid, at once and everywhere. Tokens got with it live on, as clients expect."""
    _subject_token, found, _number = await _subject(call, "identity:revoke_token", allow_expired=False)
    await write_and_revoke(
        call.rt, revocations.revoke, "audit", found.payload.audit_ids[0],
        keep_for_s=revocation_kept_s(call.rt.config),
    )


async def _subject(call: Call[None], rule: str, *, allow_expired: bool) -> tuple[str, TokenDetails, int]:
    subject, known = call.request.headers.get(SUBJECT_HEADER), call.rt.get(Tokens)
    found, number = await known.validate_numbered(subject, allow_expired=allow_expired) if subject else (None, 0)
    owner = None if found is None else found.user.id
    call.enforce(rule, target={"token": {"user_id": owner}})
    if subject is None:
        raise InvalidInput(reason="The header X-Subject-Token is missing.")
    if found is None:
        raise ResourceNotFound(kind="token", id="not valid, or not any more")
    return subject, found, number


def check_scope(scope: Scope | str | None) -> None:
    """400 for a scope that is ambiguous or incomplete, before anything else is looked at."""
    if scope is None or scope == "unscoped":
        return
    if isinstance(scope, str):
        raise InvalidInput(reason="A scope is an object, or the word 'unscoped'.")
    given = [name for name in Scope.__struct_fields__ if getattr(scope, name) is not None]
    if len(given) != 1:
        raise InvalidInput(reason="A scope has exactly one of project, domain, system.")
    if scope.system is not None and scope.system.get("all") is not True:
        raise InvalidInput(reason="The only system scope is {'all': true}.")
    if scope.project is not None:
        check_reference(scope.project.id, scope.project.name, scope.project.domain, "project")
    if scope.domain is not None and scope.domain.id is None and scope.domain.name is None:
        raise InvalidInput(reason="The domain needs an id or a name.")


def _payload(call: Call[Auth], proof: Proof, now: datetime) -> TokenPayload:
    """An unscoped payload. One got with a token keeps that token's expiry and the audit id of its chain."""
    if proof.parent is not None:
        expires_at, chain = proof.parent.expires_at, (new_audit_id(), proof.parent.audit_ids[-1])
    else:
        expires_at, chain = now + timedelta(seconds=call.rt.config.token_lifetime_s), (new_audit_id(),)
    return TokenPayload(
        user_id=proof.user_id, methods=proof.methods, issued_at=now, expires_at=expires_at.replace(microsecond=0),
        audit_ids=chain,
    )


def _scoped(
    tx: Tx, base: TokenPayload, scope: Scope | str | None, with_catalog: bool
) -> tuple[TokenDetails, list[CatalogEntry] | None]:
    found = _default_scoped(tx, base) if scope is None else tokens.details(tx, _with_scope(tx, base, scope))
    if found is None:
        raise InvalidCredentials()
    scoped = found.payload.scope_kind != UNSCOPED
    return found, endpoints.catalog(tx) if with_catalog and scoped else None


def _default_scoped(tx: Tx, base: TokenPayload) -> TokenDetails | None:
    """Scoped to the user's default project when they have one and a role there, else unscoped."""
    unscoped = tokens.details(tx, base)
    if unscoped is None or unscoped.user.default_project_id is None:
        return unscoped
    payload = msgspec.structs.replace(base, scope_kind=PROJECT, scope_id=unscoped.user.default_project_id)
    return tokens.details(tx, payload) or unscoped


def _with_scope(tx: Tx, base: TokenPayload, scope: Scope | str) -> TokenPayload:
    """The payload for a scope. An id is taken as it is: whether it exists shows when its roles are read."""
    if isinstance(scope, str) or scope.unscoped is not None:
        return base
    if scope.system is not None:
        return msgspec.structs.replace(base, scope_kind=SYSTEM)
    if scope.domain is not None:
        target, kind = scope.domain.id or references.domain_id_of(tx, scope.domain.name or ""), DOMAIN
    else:
        target, kind = _project_id(tx, scope.project or ProjectRef()), PROJECT
    if target is None:
        raise InvalidCredentials(detail="no such scope")
    return msgspec.structs.replace(base, scope_kind=kind, scope_id=target)


def _project_id(tx: Tx, wanted: ProjectRef) -> str | None:
    domain = wanted.domain or DomainRef()
    return wanted.id or references.project_id_in(tx, wanted.name or "", domain.id, domain.name)


ROUTES: tuple[Route, ...] = (
    Route(method="POST", path="/v3/auth/tokens", handler=issue_token, policy=PUBLIC, success=201, body=Auth,
          envelope="auth", max_body_bytes=MAX_AUTH_BODY_BYTES),
    Route(method="GET", path="/v3/auth/tokens", handler=show_token, policy=ANY_TOKEN, traced=False),
    Route(method="DELETE", path="/v3/auth/tokens", handler=revoke_token, policy=ANY_TOKEN, success=204),
)
