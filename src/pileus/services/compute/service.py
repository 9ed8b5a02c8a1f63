"""The compute service's manifest."""

from __future__ import annotations

from pileus.kernel.process import Role, Runtime, Service
from pileus.kernel.process.secrets import service_password
from pileus.services.compute import errors, quotas
from pileus.services.compute.api import ROUTES
from pileus.services.compute.clients.image import ImageClient
from pileus.services.compute.clients.network import NetworkClient
from pileus.services.compute.clients.placement import PlacementClient
from pileus.services.compute.config import ComputeConfig
from pileus.services.compute.db import FLOWS
from pileus.services.compute.flows import conductor
from pileus.services.compute.flows.registry import ALL_FLOWS
from pileus.services.compute.policies import RULES
from pileus.services.compute.tasks import host_selection, metadata_service
from pileus.services.compute.versions import MICROVERSIONS
from pileus.services.compute.worker import role as agent


async def setup(rt: Runtime[ComputeConfig]) -> None:
    """What handlers and flows need."""
    rt.put(quotas.quotas(rt.config.quotas))
    rt.put(ImageClient(rt.session))
    rt.put(NetworkClient(rt.session))
    rt.put(PlacementClient(rt.session))


SERVICE = Service(
    type="compute",
    name="nova",
    description="Compute",
    path="/compute",
    catalog_path="/compute/v2.1",
    usual_port=8774,
    config=ComputeConfig,
    routes=ROUTES,
    policies=RULES,
    render_fault=errors.render,
    roles=(
        Role(name="compute-api", about="The compute API: servers, flavors, keypairs."),
        Role(
            name="compute-scheduler", start=host_selection.start,
            about="Says which hosts fit a server; any number of them may run.",
        ),
        Role(
            name="compute-conductor", start=conductor.start,
            about="Runs the flows of servers, takes the reports of hosts.",
        ),
        Role(
            name="compute-metadata", start=metadata_service.start,
            about="Answers what guests ask at 169.254.169.254.",
        ),
        Role(
            name="compute-agent", start=agent.start, needs_db=False, beside=("network-l2",),
            secrets=(service_password("compute"),),
            about="Builds and watches the guests of its host; needs no database.",
        ),
    ),
    db="pileus.services.compute.db",
    flows=ALL_FLOWS,
    flow_store=FLOWS,
    versions=MICROVERSIONS,
    versioned_prefix="/v2.1",
    request_id_header="x-compute-request-id",
    media_types=("application/json", "application/vnd.openstack.compute+json"),
    setup=setup,
)
