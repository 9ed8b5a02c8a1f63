"""All flows of compute: the manifest names them to the kernel."""

from __future__ import annotations

from pileus.services.compute.flows import create_server, delete_server, reboot_server, start_server, stop_server

ALL_FLOWS = (create_server.FLOW, delete_server.FLOW, start_server.FLOW, stop_server.FLOW, reboot_server.FLOW)
