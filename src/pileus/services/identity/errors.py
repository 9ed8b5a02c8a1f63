"""Every error that identity shows its users, and how a fault looks on the wire."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from pileus.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, RouteNotFound, ServiceError, Unauthorized


def render(error: ServiceError, request_id: str) -> tuple[bytes, str]:
    """A fault as identity's clients know it."""
    text = error.text
    if isinstance(error, Forbidden) and "rule" in error.values:
        text = f"You are not authorized to perform the requested action: {error.values['rule']}."
    elif isinstance(error, RouteNotFound):
        text = "Could not find the requested URL."
    fault = {"code": error.code, "title": HTTPStatus(error.code).phrase, "message": text}
    return msgspec.json.encode({"error": fault}), "application/json"


class InvalidInput(BadRequest):
    """A field or parameter has a value that cannot be used."""

    text = "{reason}"


class ResourceNotFound(NotFound):
    """kind: what was looked for, as the user calls it."""

    text = "Could not find {kind}: {id}."


class NameTaken(Conflict):
    text = "Conflict occurred attempting to store {kind} - a {kind} named {name} exists already{where}."


class AlreadyThere(Conflict):
    text = "Conflict occurred attempting to store {kind} - {id} exists already."


class InvalidCredentials(Unauthorized):
    """The one answer to every way of failing to authenticate: it must not say which one it was."""


class PasswordExpired(Unauthorized):
    """Only said to whoever knew the password."""

    text = "The password is expired and needs to be changed for user: {user_id}."


class NotAllowed(Forbidden):
    """The request is well-formed and permitted, but the state of things forbids it."""

    text = "You are not authorized to perform the requested action: {reason}"


class DomainMustBeDisabled(NotAllowed):
    text = (
        "You are not authorized to perform the requested action: "
        "cannot delete a domain that is enabled, please disable it first."
    )


class ResourceImmutable(NotAllowed):
    text = "Could not change {kind} {id}: its option `immutable` is set."


class PasswordRejected(BadRequest):
    """A new password breaks one of the configured rules; the text says which."""

    text = "Invalid password: {reason}"
