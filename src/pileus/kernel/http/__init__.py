"""HTTP: route tables, microversions, bodies, faults, paging, the ASGI application, clients of sibling services."""

from pileus.kernel.http.body import versioned
from pileus.kernel.http.call import Call, Reply
from pileus.kernel.http.routes import ANY_TOKEN, PUBLIC, Route
from pileus.kernel.http.versions import Microversions, Version

__all__ = ["ANY_TOKEN", "PUBLIC", "Call", "Microversions", "Reply", "Route", "Version", "versioned"]
