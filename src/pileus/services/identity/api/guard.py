"""Policy on identity's routes: the rule is checked against what the request is about, before the handler runs.

What does not exist has no attributes, so that only those whom the rule allows anyway learn that it does not exist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pileus.kernel.http import Call
from pileus.services.identity.db import groups, projects, roles, users

Handler = Callable[[Call[Any]], Awaitable[Any]]
Targets = Callable[[Call[Any]], Awaitable[dict[str, Any]]]


def guarded(rule: str, handler: Handler, targets: Targets | None = None) -> Handler:
    """The handler behind a policy rule. targets: what the rule may refer to; nothing when None."""

    async def checked(call: Call[Any]) -> Any:
        call.enforce(rule, **(await targets(call) if targets is not None else {}))
        return await handler(call)

    checked.__name__ = handler.__name__
    checked.__doc__ = handler.__doc__
    checked.policy_rule = rule  # type: ignore[attr-defined]
    return checked


async def own_domain(call: Call[Any]) -> dict[str, Any]:
    """For lists that show a domain-scoped caller their own domain only."""
    return {"target": {"domain_id": call.context.domain_id}}


async def path_resources(call: Call[Any]) -> dict[str, Any]:
    """Whatever the path's variables name: user, group, project, domain, role."""
    target: dict[str, Any] = {}
    path = call.path
    if "user_id" in path and (user := await call.rt.db.read(users.get, path["user_id"])) is not None:
        target["user"] = {"id": user.id, "domain_id": user.domain_id}
    if "group_id" in path and (group := await call.rt.db.read(groups.get, path["group_id"])) is not None:
        target["group"] = {"id": group.id, "domain_id": group.domain_id}
    if "project_id" in path and (project := await call.rt.db.read(projects.get, path["project_id"])) is not None:
        target["project"] = {"id": project.id, "domain_id": project.domain_id}
    if "domain_id" in path and (domain := await call.rt.db.read(projects.get_domain, path["domain_id"])) is not None:
        target["domain"] = {"id": domain.id}
    if "role_id" in path and (role := await call.rt.db.read(roles.get, path["role_id"])) is not None:
        target["role"] = {"id": role.id, "name": role.name, "domain_id": role.domain_id}
    return {"target": target}


def default_domain(call: Call[Any]) -> str:
    """Where something is made whose body names no domain: the domain of the caller's scope."""
    return call.context.domain_id or call.context.project_domain_id or "default"


def body_domain(kind: str) -> Targets:
    """For creations: the domain that the body names, or the caller's."""

    async def target(call: Call[Any]) -> dict[str, Any]:
        domain_id = call.body.get("domain_id")
        return {"target": {kind: {"domain_id": domain_id if isinstance(domain_id, str) else default_domain(call)}}}

    return target
