"""Roles into processes: the service manifest, a service's runtime, the node that starts and stops everything."""

from pileus.kernel.process.manifest import Role, Service
from pileus.kernel.process.node import Node
from pileus.kernel.process.runtime import Runtime

__all__ = ["Node", "Role", "Runtime", "Service"]
