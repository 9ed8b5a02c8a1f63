"""The body of POST /v3/auth/tokens. Fields that we do not know are ignored, as clients expect."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

MAX_METHODS = 8
MAX_TOKEN_CHARS = 8_192

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class DomainRef(msgspec.Struct):
    """A domain by id or name."""

    id: Name | None = None
    name: Name | None = None


class PasswordUser(msgspec.Struct):
    """A user by id, or by name and domain."""

    password: str
    id: Name | None = None
    name: Name | None = None
    domain: DomainRef | None = None


class PasswordMethod(msgspec.Struct):
    user: PasswordUser


class TokenMethod(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(max_length=MAX_TOKEN_CHARS)]


class Identity(msgspec.Struct):
    methods: Annotated[list[Name], msgspec.Meta(max_length=MAX_METHODS)]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None


class ProjectRef(msgspec.Struct):
    """A project by id, or by name and domain."""

    id: Name | None = None
    name: Name | None = None
    domain: DomainRef | None = None


class Scope(msgspec.Struct):
    project: ProjectRef | None = None
    domain: DomainRef | None = None
    system: dict[str, Any] | None = None
    unscoped: dict[str, Any] | None = None


class Auth(msgspec.Struct):
    """The object `auth`. scope: an object with exactly one key, or the word `unscoped`."""

    identity: Identity
    scope: Scope | str | None = None
