"""What was done to a server, and how far it came."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel.errors import BadRequest, NotFound
from pileus.kernel.http import Call, Route
from pileus.kernel.http.paging import next_url, parse_page
from pileus.services.compute.api import queries, values
from pileus.services.compute.api.servers import loading
from pileus.services.compute.api.servers.view import host_id
from pileus.services.compute.db import instance_actions
from pileus.services.compute.db.instance_actions import Action, Event


def _view(action: Action, call: Call[Any]) -> dict[str, Any]:
    shown = {
        "action": action.name, "instance_uuid": action.server_id, "request_id": action.request_id,
        "user_id": action.user_id, "project_id": action.project_id, "start_time": values.exact_time(action.started_at),
        "message": action.message,
    }
    if call.at_least("2.58"):
        shown["updated_at"] = values.exact_time(action.updated_at)
    return shown


class Sight(msgspec.Struct, frozen=True):
    """What of an action's steps the caller may see. insides: hosts, and why a step failed in the operators' words.
    details: why it failed in the user's."""

    insides: bool
    details: bool


def _event(event: Event, action: Action, call: Call[Any], sight: Sight) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "event": event.name, "start_time": values.exact_time(event.started_at),
        "finish_time": values.exact_time(event.finished_at), "result": event.result,
    }
    if sight.insides:
        shown["traceback"] = event.trace or None
    if call.at_least("2.62"):
        shown["hostId"] = host_id(action.project_id or "", event.host)
        if sight.insides:
            shown["host"] = event.host
    if call.at_least("2.84") and sight.details:
        shown["details"] = event.detail or None
    return shown


def _under_way(action: Action, call: Call[Any]) -> Event | None:
    """The step that runs now, or is tried again soon."""
    where = action.under_way
    kinds = (kind for kind in call.rt.service.flows if (kind.name, kind.version) == (action.flow_name, action.version))
    flow = next(kinds, None)
    if where is None or flow is None:
        return None
    step = flow.steps[max(0, min(where.step, len(flow.steps) - 1))].name
    name = instance_actions.event_name(action, step, undone=where.undoing)
    return Event(name=name, started_at=where.since, finished_at=None, result=None, host=where.host)


async def list_actions(call: Call[None]) -> dict[str, Any]:
    """Newest first; those of deleted servers too from 2.21 on."""
    server = await loading.load(call, deleted=call.at_least("2.21"))
    if not call.at_least("2.58"):
        found = await call.rt.db.read(instance_actions.of_server, server.id, limit=1_000)
        return {"instanceActions": [_view(action, call) for action in found or []]}
    queries.only(call, "limit", "marker", "changes-since", "changes-before", since="2.58")
    page = parse_page(call.query)
    since = queries.time(call.query.get("changes-since"), "changes-since")
    before = queries.time(call.query.get("changes-before"), "changes-before") if call.at_least("2.66") else None
    if since and before and since > before:
        raise BadRequest("The value of changes-since must be less than or equal to changes-before.")
    found = await call.rt.db.read(
        instance_actions.of_server, server.id, since=since, before=before, limit=page.limit, marker=page.marker
    )
    if found is None:
        raise BadRequest(f"marker [{page.marker}] not found")
    answer: dict[str, Any] = {"instanceActions": [_view(action, call) for action in found]}
    if page.asked_limit and len(found) == page.limit:
        url = f"{call.base_url}/v2.1/servers/{server.id}/os-instance-actions"
        answer["links"] = [{"rel": "next", "href": next_url(url, call.query, found[-1].request_id)}]
    return answer


async def show_action(call: Call[None]) -> dict[str, Any]:
    """One, with its steps."""
    server = await loading.load(call, deleted=call.at_least("2.21"))
    action = await call.rt.db.read(instance_actions.by_request, server.id, call.path["request_id"])
    if action is None:
        raise NotFound(f"Action for request_id {call.path['request_id'][:64]} on instance {server.id} not found")
    shown = _view(action, call)
    target = {"project_id": server.project_id}
    sight = Sight(
        insides=call.allows("os_compute_api:os-instance-actions:events", **target),
        details=call.allows("os_compute_api:os-instance-actions:events:details", **target),
    )
    if sight.insides or call.at_least("2.51"):
        steps = await call.rt.db.read(instance_actions.events, action)
        if (now := _under_way(action, call)) is not None:
            steps.append(now)
        shown["events"] = [_event(step, action, call, sight) for step in steps]
    return {"instanceAction": shown}


_PATH = "/v2.1/servers/{server_id}/os-instance-actions"

ROUTES = (
    Route(method="GET", path=_PATH, handler=list_actions, policy="os_compute_api:os-instance-actions:list"),
    Route(method="GET", path=_PATH + "/{request_id}", handler=show_action,
          policy="os_compute_api:os-instance-actions:show"),
)
