"""The files of a server's config drive, if it has one."""

from __future__ import annotations

from typing import Any

from pileus.kernel.process import Runtime
from pileus.services.compute.clients.network import NetworkClient
from pileus.services.compute.db.servers import Server
from pileus.services.compute.logic import guest_metadata
from pileus.services.compute.rpc import ConfigDriveFile

MANDATORY = "mandatory"


async def files_for(rt: Runtime[Any], server: Server) -> tuple[ConfigDriveFile, ...]:
    """Rendered now, from what the metadata service would say; none when no drive was asked for."""
    demanded = server.image is not None and server.image.properties.get("img_config_drive") == MANDATORY
    if not server.config_drive and not demanded:
        return ()
    networks = sorted({vif.network_id for vif in server.network_info})
    subnets = await rt.get(NetworkClient).subnets(networks) if networks else []
    files = guest_metadata.config_drive_files(server, subnets)
    return tuple(ConfigDriveFile(path, content) for path, content in files.items())
