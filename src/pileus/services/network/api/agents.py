"""Agents, and what they serve."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from pileus.kernel.db import Tx
from pileus.kernel.http.call import Call
from pileus.kernel.http.routes import Route
from pileus.services.network.api import checks
from pileus.services.network.api import networks as networks_api
from pileus.services.network.api import routers as routers_api
from pileus.services.network.api.attributes import Attribute, Resource, read_only, update_body
from pileus.services.network.api.listing import Shower, answer, parse
from pileus.services.network.db import agents, networks, routers
from pileus.services.network.db.agents import Agent
from pileus.services.network.db.intents.fabric import Fabric
from pileus.services.network.db.listing import UnknownMarker
from pileus.services.network.db.routers import ROUTERS
from pileus.services.network.errors import AgentNotFound, NetworkNotFound
from pileus.services.network.rpc import agent_topic

_READ_ONLY = read_only(
    "id", "agent_type", "binary", "host", "topic", "alive", "configurations", "created_at", "started_at",
    "heartbeat_timestamp", "availability_zone", "resources_synced",
)  # fmt: skip
AGENT = Resource(
    singular="agent", plural="agents", not_found=AgentNotFound,
    attributes={
        attribute.name: attribute
        for attribute in (
            *_READ_ONLY,
            Attribute(name="admin_state_up", check=checks.boolean),
            Attribute(name="description", check=checks.text()),
        )
    },
)  # fmt: skip
SORTABLE = ("id", "host", "binary", "agent_type", "admin_state_up", "created_at", "started_at")


def _time(value: datetime) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S")


def view(agent: Agent, fabric: Fabric, now: datetime) -> dict[str, Any]:
    """An agent as clients see it."""
    return {
        "id": agent.id,
        "agent_type": agent.agent_type,
        "binary": agent.binary,
        "host": agent.host,
        "topic": agent_topic(agent.kind, agent.host),  # type: ignore[arg-type]
        "description": agent.description,
        "admin_state_up": agent.admin_state_up,
        "alive": agent.is_alive(now, fabric.config.agent_down_time_s),
        "configurations": {**agent.configurations, **agent.resource_counts},
        "created_at": _time(agent.created_at),
        "started_at": _time(agent.started_at),
        "heartbeat_timestamp": _time(agent.heartbeat_at),
        "availability_zone": fabric.config.availability_zone if agent.kind in ("dhcp", "l3") else None,
        "resources_synced": None,
    }


def _find(tx: Tx, agent_id: str) -> Agent:
    agent = agents.get(tx, agent_id)
    if agent is None:
        raise AgentNotFound(id=agent_id)
    return agent


def _view(call: Call[Any], agent: Agent) -> dict[str, Any]:
    return view(agent, call.rt.get(Fabric), call.rt.clock.now())


async def list_agents(call: Call[None]) -> dict[str, Any]:
    query = parse(call, agents.FILTERS | {"alive": agents.AGENTS.c.id}, SORTABLE)
    wanted = [value.lower() == "true" for value in query.filters.get("alive", [])]
    plain = {name: values for name, values in query.filters.items() if name != "alive"}
    try:
        found = await call.rt.db.read(agents.page, msgspec.structs.replace(query, filters=plain))
    except UnknownMarker:
        raise AgentNotFound(id=query.marker) from None
    items = Shower(call, AGENT).show_all(found, lambda agent: _view(call, agent), lambda _: {})
    return answer(call, AGENT, query, [item for item in items if not wanted or item.get("alive") in wanted])


async def show_agent(call: Call[None]) -> dict[str, Any]:
    return {"agent": _view(call, await call.rt.db.read(_find, call.path["agent_id"]))}


async def update_agent(call: Call[None]) -> dict[str, Any]:
    values = update_body(call, AGENT)

    def update(tx: Tx) -> Agent:
        agent = _find(tx, call.path["agent_id"])
        if values:
            agents.set_admin_state(tx, agent.id, values)
        return _find(tx, agent.id)

    return {"agent": _view(call, await call.rt.db.write(update))}


async def delete_agent(call: Call[None]) -> None:
    def remove(tx: Tx) -> None:
        agents.remove(tx, _find(tx, call.path["agent_id"]).id)

    await call.rt.db.write(remove)


async def list_dhcp_networks(call: Call[None]) -> dict[str, Any]:
    def load(tx: Tx) -> list[Any]:
        agent = _find(tx, call.path["agent_id"])
        ids = agents.dhcp_of_host(tx, agent.host) if agent.kind == "dhcp" else {}
        return list(networks.by_ids(tx, ids).values())

    return {"networks": [networks_api.view(network) for network in await call.rt.db.read(load)]}


async def list_l3_routers(call: Call[None]) -> dict[str, Any]:
    def load(tx: Tx) -> list[Any]:
        agent = _find(tx, call.path["agent_id"])
        return routers.load_where(tx, ROUTERS.c.host == agent.host) if agent.kind == "l3" else []

    zone = call.rt.get(Fabric).config.availability_zone
    return {"routers": [routers_api.view(router, zone) for router in await call.rt.db.read(load)]}


async def list_dhcp_agents(call: Call[None]) -> dict[str, Any]:
    def load(tx: Tx) -> list[Agent]:
        network_id = call.path["network_id"]
        if networks.get(tx, network_id) is None:
            raise NetworkNotFound(id=network_id)
        hosts = agents.dhcp_hosts(tx, (network_id,)).values()
        return [agent for agent in agents.of_kind(tx, "dhcp") if agent.host in hosts]

    return {"agents": [_view(call, agent) for agent in await call.rt.db.read(load)]}


async def list_l3_agents(call: Call[None]) -> dict[str, Any]:
    def load(tx: Tx) -> list[Agent]:
        router = routers_api.find(tx, call, call.path["router_id"])
        return [agent for agent in agents.of_kind(tx, "l3") if agent.host == router.host]

    return {"agents": [_view(call, agent) | {"ha_state": None} for agent in await call.rt.db.read(load)]}


ONE = "/v2.0/agents/{agent_id}"
ROUTES = (
    Route(method="GET", path="/v2.0/agents", handler=list_agents, policy="get_agent"),
    Route(method="GET", path=ONE, handler=show_agent, policy="get_agent"),
    Route(method="PUT", path=ONE, handler=update_agent, policy="update_agent"),
    Route(method="DELETE", path=ONE, handler=delete_agent, policy="delete_agent", success=204),
    Route(method="GET", path=ONE + "/dhcp-networks", handler=list_dhcp_networks, policy="get_dhcp-networks"),
    Route(method="GET", path=ONE + "/l3-routers", handler=list_l3_routers, policy="get_l3-routers"),
    Route(
        method="GET", path="/v2.0/networks/{network_id}/dhcp-agents", handler=list_dhcp_agents,
        policy="get_dhcp-agents",
    ),
    Route(method="GET", path="/v2.0/routers/{router_id}/l3-agents", handler=list_l3_agents, policy="get_l3-agents"),
)  # fmt: skip
