"""Who asks, and under which request: the context that travels through HTTP, bus, flows and logs."""

from __future__ import annotations

import contextvars
import re
import uuid
from datetime import UTC, datetime

import msgspec


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's identity as their token states it. It holds no secret and may be stored with a flow.

    Ids are hex uuids as identity issues them; `roles` are role names, implied roles included.

    request_id: of the request that this work belongs to. global_request_id: of the request that began it all, perhaps
    in another service or at the client. cause: the hop (see `kernel/observe`) that had this work done, for traces.
    """

    request_id: str = ""
    global_request_id: str | None = None
    cause: str = ""
    user_id: str | None = None
    user_name: str | None = None
    user_domain_id: str | None = None
    user_domain_name: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    project_domain_id: str | None = None
    project_domain_name: str | None = None
    domain_id: str | None = None
    domain_name: str | None = None
    system_scope: str | None = None
    roles: tuple[str, ...] = ()
    token_expires_at: datetime | None = None
    audit_ids: tuple[str, ...] = ()

    @property
    def sent_request_id(self) -> str:
        """What siblings are told as the global request id: the client's, else this request's own; may be empty."""
        return self.global_request_id or self.request_id

    def credentials(self) -> dict[str, object]:
        """What policy rules may name on their left side."""
        return {
            "user_id": self.user_id,
            "user_domain_id": self.user_domain_id,
            "project_id": self.project_id,
            "tenant_id": self.project_id,
            "project_domain_id": self.project_domain_id,
            "domain_id": self.domain_id,
            "system_scope": self.system_scope,
            "roles": self.roles,
        }


_current: contextvars.ContextVar[Context] = contextvars.ContextVar("pileus_context", default=Context())


def current() -> Context:
    """The context of the work this task does, empty outside of any request."""
    return _current.get()


def enter(context: Context) -> contextvars.Token[Context]:
    """Make `context` current for this task and those it starts; undo with `leave`."""
    return _current.set(context)


def leave(token: contextvars.Token[Context]) -> None:
    """Put back what was current before `enter`."""
    _current.reset(token)


_REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_request_id() -> str:
    """A request id in the form that clients expect: `req-` and a uuid."""
    return f"req-{uuid.uuid4()}"


def is_request_id(text: str) -> bool:
    """Whether it has that form, and nothing else: only then is it taken over into logs and databases."""
    return _REQUEST_ID.fullmatch(text) is not None


class Clock:
    """Time and ids come from here, so that tests and simulation can own them."""

    def now(self) -> datetime:
        """The present, aware, UTC."""
        return datetime.now(UTC)

    def new_id(self) -> str:
        """A fresh uuid with dashes."""
        return str(uuid.uuid4())

    def new_hex_id(self) -> str:
        """A fresh uuid without dashes, as identity and projects use them."""
        return uuid.uuid4().hex
