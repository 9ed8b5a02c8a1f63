"""Lists of servers, short and in detail."""

from __future__ import annotations

from typing import Any

from pileus.kernel.db import Tx
from pileus.kernel.errors import BadRequest
from pileus.kernel.http import Call, Route
from pileus.kernel.http.paging import Page, next_url, parse_page
from pileus.services.compute.api.servers import extras, filters, loading
from pileus.services.compute.api.servers.view import ServerExtras, Viewer
from pileus.services.compute.db import server_lists
from pileus.services.compute.db.server_lists import BriefServer, ServerPage
from pileus.services.compute.db.servers import Server


async def list_servers(call: Call[None]) -> dict[str, Any]:
    """Ids, names, links."""
    asked, viewer = parse_page(call.query), Viewer(call)
    wanted, sort = filters.read(call, detail=False), filters.sort(call)

    def read(tx: Tx) -> list[BriefServer]:
        marker = _marker(tx, call, asked)
        return server_lists.brief_page(tx, wanted, sort=sort, limit=asked.limit, marker=marker)

    found = await call.rt.db.read(read)
    last = found[-1].id if found and len(found) == asked.limit else None
    return _answer(call, last, [viewer.brief(server) for server in found], "servers")


async def list_servers_in_detail(call: Call[None]) -> dict[str, Any]:
    """Everything."""
    asked, viewer = parse_page(call.query), Viewer(call)
    wanted, sort = filters.read(call, detail=True), filters.sort(call)

    def read(tx: Tx) -> ServerPage:
        marker, with_tags = _marker(tx, call, asked), call.at_least("2.26")
        return server_lists.page(tx, wanted, sort=sort, limit=asked.limit, marker=marker, with_tags=with_tags)

    page = await call.rt.db.read(read)
    hosts = await call.rt.db.read(extras.host_states) if viewer.host_status else {}
    shown = []
    for server in page.servers:
        more = ServerExtras(
            tags=page.tags.get(server.id, []), fault=page.faults.get(server.id),
            host_status=hosts.get(server.host, "UNKNOWN") if server.host else "",
        )
        shown.append(viewer.full(server, more, groups=False))
    return _answer(call, page.servers[-1].id if page.more and page.servers else None, shown, "servers/detail")


def _marker(tx: Tx, call: Call[None], asked: Page) -> Server | None:
    if asked.marker is None:
        return None
    marker = server_lists.marker_of(tx, asked.marker)
    if marker is None or not loading.may_know(call, marker):
        raise BadRequest(f"marker [{asked.marker[:80]}] not found")
    return marker


def _answer(call: Call[None], last: str | None, shown: list[dict[str, Any]], path: str) -> dict[str, Any]:
    """`last`: the last server of a full page; None: there is no next page."""
    answer: dict[str, Any] = {"servers": shown}
    if last is not None:
        href = next_url(f"{call.base_url}/v2.1/{path}", call.query, last)
        answer["servers_links"] = [{"rel": "next", "href": href}]
    return answer


ROUTES = (
    Route(method="GET", path="/v2.1/servers", handler=list_servers, policy="os_compute_api:servers:index"),
    Route(method="GET", path="/v2.1/servers/detail", handler=list_servers_in_detail,
          policy="os_compute_api:servers:detail"),
)
