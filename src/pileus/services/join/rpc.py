"""What a new host and a controller say to each other: one line of JSON each way, over TLS, then the end."""

from __future__ import annotations

import msgspec

MAX_REQUEST_BYTES = 16_384
MAX_ANSWER_BYTES = 1_048_576


class AskAuthority(msgspec.Struct, frozen=True, tag="authority"):
    """Whoever asks gets the authority's certificate, to compare with the fingerprint in the token."""


class Join(msgspec.Struct, frozen=True, tag="join"):
    """token, secret: from the token. host: the name that it wants. request: for a certificate, PEM; its key stays
    where it is, and is what a host is known by when it asks again."""

    token: str
    secret: str
    host: str
    request: str

    def __repr__(self) -> str:
        return f"Join(token={self.token!r}, host={self.host!r})"


class Authority(msgspec.Struct, frozen=True, tag="authority"):
    """certificate: PEM."""

    certificate: str


class Bundle(msgspec.Struct, frozen=True, tag="bundle"):
    """All that the host needs. cluster_key: base64, for controllers only. tables: of its configuration. secrets: what
    its list names: for agents what they need, for controllers what goes before derived secrets."""

    cloud: str
    authority: str
    certificate: str
    tables: dict[str, dict]
    secrets: dict[str, str]
    cluster_key: str | None = None

    def __repr__(self) -> str:
        return f"Bundle(cloud={self.cloud!r})"


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """text: for the operator."""

    text: str


Request = AskAuthority | Join
Answer = Authority | Bundle | Refusal
