"""Why a host is not let in: what its operator reads."""

from __future__ import annotations

import msgspec

from pileus.kernel.errors import BadRequest, Conflict, ServiceError, Unauthorized, Unavailable


def render(error: ServiceError, _request_id: str) -> tuple[bytes, str]:
    """The service has no HTTP of its own; the kernel asks every service."""
    return msgspec.json.encode({"error": {"code": error.code, "message": error.text}}), "application/json"


class UnknownToken(Unauthorized):
    """No such token, or another secret: it is not said which."""

    text = "the cloud does not know this join token; make one with `pileus host token` on a controller"


class TokenExpired(Unauthorized):
    text = "the join token has expired; make a new one with `pileus host token` on a controller"


class TokenUsed(Unauthorized):
    """Only said to who has the secret: then somebody else may have it as well."""

    text = (
        "the join token was used by host {host} already; if that was not you, look after that host "
        "(`pileus host list` on a controller), else make a new token"
    )


class HostNameTaken(Conflict):
    text = (
        "the cloud has a host {host} already; choose another name with --host, or, if that host is no more, "
        "run `pileus host remove {host}` on a controller"
    )


class UnfitHost(BadRequest):
    text = "{reason}"


class Busy(Unavailable):
    text = "too many hosts are joining at this moment; run the command again"
