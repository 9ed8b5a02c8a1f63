"""The manifest of the service that lets hosts join. It is for hosts, not for users: no catalogue entry, no HTTP."""

from __future__ import annotations

from pileus.kernel.process import Role, Service
from pileus.services.join import errors
from pileus.services.join.config import JoinConfig
from pileus.services.join.tasks import listen

SERVICE = Service(
    type="join",
    name="join",
    description="Hosts of the cloud, and how they become so",
    path="/join",
    catalog_path="/join",
    usual_port=8990,
    config=JoinConfig,
    routes=(),
    policies=(),
    render_fault=errors.render,
    roles=(
        Role(
            name="join-api", start=listen.start, needs_broker=True,
            about="Gives hosts that have a token what they need to be part of the cloud, over TLS.",
        ),
    ),
    db="pileus.services.join.db",
    offered=False,
)
