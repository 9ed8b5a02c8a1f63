"""Talks with a controller: first to know that it is the right one, then to join."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TypeVar

import msgspec

from pileus.services.join import rpc
from pileus.services.join.logic import authority, place
from pileus.services.join.logic.authority import SERVER_NAME
from pileus.services.join.logic.join_token import JoinToken

T = TypeVar("T", rpc.Authority, rpc.Bundle)

CONNECT_S = 10.0
ANSWER_S = 75.0
CHUNK_BYTES = 65_536


class NotJoined(RuntimeError):
    """The text says why, for the operator."""


def authority_of(token: JoinToken) -> str:
    """The certificate of the cloud's authority, PEM, compared with the token's fingerprint. Raises NotJoined.

    The connection that it comes over is not to be trusted yet, and carries nothing that is secret.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    found, _ = _ask(token, context, rpc.AskAuthority(), rpc.Authority)
    try:
        seen = authority.fingerprint(found.certificate.encode())
    except ValueError:
        seen = "none"
    if seen != token.authority:
        raise NotJoined(
            f"who answers at {token.at} is not the cloud that made this token: the fingerprint of its certificate "
            "authority is another one. The token's secret was not sent"
        )
    return found.certificate


def join(token: JoinToken, certificate: str, request: rpc.Join) -> tuple[rpc.Bundle, str]:
    """What the cloud gives this host, and this host's address on the way there. Raises NotJoined."""
    context = ssl.create_default_context(cadata=certificate)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return _ask(token, context, request, rpc.Bundle)


def _ask(token: JoinToken, context: ssl.SSLContext, request: rpc.Request, wanted: type[T]) -> tuple[T, str]:
    try:
        with socket.create_connection(place.parts(token.at), timeout=CONNECT_S) as plain:
            address = str(plain.getsockname()[0])
            with context.wrap_socket(plain, server_hostname=SERVER_NAME) as secure:
                secure.sendall(msgspec.json.encode(request) + b"\n")
                line = _line(secure)
    except ssl.SSLCertVerificationError as error:
        raise NotJoined(
            f"the controller at {token.at} has no certificate of the cloud that made this token "
            f"({error.verify_message}; is this machine's clock right?)"
        ) from None
    except ssl.SSLError as error:
        raise NotJoined(f"who answers at {token.at} does not let hosts join: {error.reason or error}") from None
    except OSError as error:
        raise NotJoined(f"no controller answers at {token.at}: {error.strerror or error}; try again") from None
    try:
        found = msgspec.json.decode(line, type=rpc.Answer)
    except msgspec.DecodeError:
        raise NotJoined(f"the controller at {token.at} ended the conversation early; try again") from None
    if isinstance(found, rpc.Refusal):
        raise NotJoined(found.text)
    if not isinstance(found, wanted):
        raise NotJoined(f"the controller at {token.at} gave an answer to another question")
    return found, address


def _line(secure: ssl.SSLSocket) -> bytes:
    """Up to the first line's end, or what came before the other side ended. Raises OSError."""
    deadline = time.monotonic() + ANSWER_S
    content = b""
    while not content.endswith(b"\n") and len(content) <= rpc.MAX_ANSWER_BYTES:
        secure.settimeout(max(0.01, deadline - time.monotonic()))
        chunk = secure.recv(CHUNK_BYTES)
        if not chunk:
            break
        content += chunk
    return content
