"""The network service's manifest."""

from __future__ import annotations

from pileus.kernel.process.manifest import Role, Service
from pileus.services.network import errors
from pileus.services.network.api import (
    agents,
    availability,
    extensions,
    floating_ips,
    networks,
    ports,
    quotas,
    router_interfaces,
    routers,
    security_groups,
    subnet_pools,
    subnets,
    tags,
    versions,
)
from pileus.services.network.config import NetworkConfig
from pileus.services.network.policies import RULES
from pileus.services.network.tasks import server
from pileus.services.network.tasks.setup import setup
from pileus.services.network.worker import roles

SERVICE = Service(
    type="network",
    name="network",
    description="Networking",
    path="/network",
    catalog_path="/network",
    usual_port=9696,
    config=NetworkConfig,
    routes=(
        *versions.ROUTES,
        *networks.ROUTES,
        *subnets.ROUTES,
        *subnet_pools.ROUTES,
        *ports.ROUTES,
        *security_groups.ROUTES,
        *routers.ROUTES,
        *router_interfaces.ROUTES,
        *floating_ips.ROUTES,
        *quotas.ROUTES,
        *agents.ROUTES,
        *tags.ROUTES,
        *availability.ROUTES,
        *extensions.ROUTES,
    ),
    policies=RULES,
    render_fault=errors.render,
    roles=(
        Role(name="network-api", about="The network API: networks, ports, routers, floating addresses."),
        Role(
            name=server.ROLE, start=server.start,
            about="Tells agents what their hosts should have, takes their reports, places routers and DHCP.",
        ),
        Role(
            name=roles.L2_ROLE, start=roles.start_l2, needs_db=False,
            about="Bridges, tunnels and filters of its host; needs no database.",
        ),
        Role(
            name=roles.L3_ROLE, start=roles.start_l3, needs_db=False, beside=(roles.L2_ROLE,),
            about="Routers of its host and their floating addresses; needs no database.",
        ),
        Role(
            name=roles.DHCP_ROLE, start=roles.start_dhcp, needs_db=False, beside=(roles.L2_ROLE,),
            about="DHCP of its host's networks; needs no database.",
        ),
    ),
    db="pileus.services.network.db",
    setup=setup,
)
