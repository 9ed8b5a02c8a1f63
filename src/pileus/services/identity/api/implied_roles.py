"""/v3/roles/{id}/implies and /v3/role_inferences: which role implies which."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.http import Call, Reply, Route
from pileus.services.identity.api.auth.session import write_and_revoke
from pileus.services.identity.api.bodies import Fields
from pileus.services.identity.api.roles import find_role
from pileus.services.identity.db import roles
from pileus.services.identity.db.roles import Role
from pileus.services.identity.errors import InvalidInput, ResourceNotFound
from pileus.services.identity.logic.roles import closure


def _brief(call: Call[Any], row: Role) -> Fields:
    return {"id": row.id, "name": row.name, "links": {"self": f"{call.base_url}/v3/roles/{row.id}"}}


async def list_implied(call: Call[None]) -> dict[str, Any]:
    """What a role implies directly."""
    prior, implied = await call.rt.db.read(_implied, call.path["prior_role_id"])
    inference = {"prior_role": _brief(call, prior), "implies": [_brief(call, row) for row in implied]}
    return {"role_inference": inference, "links": {"self": f"{call.base_url}/v3/roles/{prior.id}/implies"}}


def _implied(tx: Tx, prior_id: str) -> tuple[Role, list[Role]]:
    return find_role(tx, prior_id), roles.by_ids(tx, roles.implications(tx).get(prior_id, ()))


async def show_implied(call: Call[None]) -> Reply:
    """Whether a role implies another directly: 404 when not."""
    prior, implied = await call.rt.db.read(_pair, call.path)
    if call.request.method == "HEAD":
        return Reply(status=204)
    return Reply(_inference(call, prior, implied))


async def create_implied(call: Call[None]) -> dict[str, Any]:
    """Make a role imply another; implying oneself in a circle is refused."""
    prior, implied = await write_and_revoke(call.rt, _imply, call.path)
    return _inference(call, prior, implied)


async def delete_implied(call: Call[None]) -> None:
    """Make a role not imply another."""
    await write_and_revoke(call.rt, _cease, call.path)


async def list_inferences(call: Call[None]) -> dict[str, Any]:
    """All direct implications, by the role that implies."""
    found = await call.rt.db.read(_inferences)
    items = [
        {"prior_role": _brief(call, prior), "implies": [_brief(call, row) for row in implied]}
        for prior, implied in found
    ]
    return {"role_inferences": items}


def _inference(call: Call[Any], prior: Role, implied: Role) -> Fields:
    link = f"{call.base_url}/v3/roles/{prior.id}/implies/{implied.id}"
    inference = {"prior_role": _brief(call, prior), "implies": _brief(call, implied)}
    return {"role_inference": inference, "links": {"self": link}}


def _pair(tx: Tx, path: dict[str, str]) -> tuple[Role, Role]:
    prior, implied = find_role(tx, path["prior_role_id"]), find_role(tx, path["implied_role_id"])
    if implied.id not in roles.implications(tx).get(prior.id, ()):
        raise ResourceNotFound(kind="implied role", id=f"{prior.id} implies {implied.id}")
    return prior, implied


def _imply(tx: Tx, path: dict[str, str]) -> tuple[Role, Role]:
    prior, implied = find_role(tx, path["prior_role_id"]), find_role(tx, path["implied_role_id"])
    if implied.domain_id is not None and implied.domain_id != prior.domain_id:
        raise InvalidInput(reason="A role cannot imply one of another domain.")
    if implied.name == "admin" and implied.domain_id is None:
        raise InvalidInput(reason="The role admin cannot be implied.")
    if prior.id in closure([implied.id], roles.implications(tx)):
        raise InvalidInput(reason="A role cannot imply itself, directly or through others.")
    roles.imply(tx, prior.id, implied.id)
    return prior, implied


def _cease(tx: Tx, path: dict[str, str]) -> None:
    prior, implied = _pair(tx, path)
    roles.cease_to_imply(tx, prior.id, implied.id)


def _inferences(tx: Tx) -> list[tuple[Role, list[Role]]]:
    implied = roles.implications(tx)
    return [(prior, roles.by_ids(tx, implied[prior.id])) for prior in roles.by_ids(tx, implied)]


_ONE = "/v3/roles/{prior_role_id}/implies/{implied_role_id}"
ROUTES = (
    Route(method="GET", path="/v3/roles/{prior_role_id}/implies", handler=list_implied,
          policy="identity:list_implied_roles"),
    Route(method="GET", path=_ONE, handler=show_implied, policy="identity:get_implied_role"),
    Route(method="HEAD", path=_ONE, handler=show_implied, policy="identity:check_implied_role", success=204),
    Route(method="PUT", path=_ONE, handler=create_implied, policy="identity:create_implied_role", success=201),
    Route(method="DELETE", path=_ONE, handler=delete_implied, policy="identity:delete_implied_role", success=204),
    Route(method="GET", path="/v3/role_inferences", handler=list_inferences,
          policy="identity:list_role_inference_rules"),
)
