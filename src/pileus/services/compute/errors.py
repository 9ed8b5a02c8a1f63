"""Every error that compute shows its users: code, type, text; and how a fault looks on the wire."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pileus.kernel.errors import BadRequest, Conflict, Forbidden, NotFound, ServiceError
from pileus.kernel.quota import Exceeded

FAULT_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}


def render(error: ServiceError, request_id: str) -> tuple[bytes, str]:
    """A fault as compute clients know it: one key that names the kind, with code and message."""
    inner: dict[str, object] = {"code": error.code, "message": error.text}
    if error.code in (413, 429):
        inner["retryAfter"] = "0"
    return msgspec.json.encode({FAULT_NAMES.get(error.code, "computeFault"): inner}), "application/json"


class InvalidInput(BadRequest):
    """A field of the request has a value that cannot be used; the text says which."""

    text = "Invalid input received: {reason}"


class ServerNotFound(NotFound):
    text = "Instance {server_id} could not be found."


class FlavorNotFound(NotFound):
    text = "Flavor {flavor_id} could not be found."


class UnknownFlavor(BadRequest):
    """A server was asked for with a flavor that is not there (for this project)."""

    text = "Flavor {flavor_id} could not be found."


class FlavorExists(Conflict):
    text = "Flavor with name {name} already exists."


class FlavorIdExists(Conflict):
    text = "Flavor with ID {flavor_id} already exists."


class FlavorAccessExists(Conflict):
    text = "Flavor access already exists for flavor {flavor_id} and project {project_id} combination."


class FlavorAccessNotFound(NotFound):
    text = "Flavor access not found for {flavor_id} / {project_id} combination."


class FlavorIsPublic(Conflict):
    text = "Can not add access to a public flavor."


class ExtraSpecNotFound(NotFound):
    text = "Flavor {flavor_id} has no extra specs with key {key}."


class KeyPairNotFound(NotFound):
    text = "Keypair {name} not found for user {user_id}"


class KeyPairExists(Conflict):
    text = "Key pair '{name}' already exists."


class InvalidKeyPair(BadRequest):
    text = "Keypair data is invalid: {reason}"


class TooManyKeyPairs(Forbidden):
    text = "Quota exceeded, too many key pairs."


class UnknownKeyName(BadRequest):
    text = "Invalid key_name provided."


class QuotaExceeded(Forbidden):
    """Instances, cores or memory over the project's limit."""

    @classmethod
    def of(cls, broken: Iterable[Exceeded], project_id: str) -> QuotaExceeded:
        """With the sentence that clients look for; resources in alphabetical order."""
        items = sorted(broken, key=lambda item: item.name)
        names = ", ".join(item.name for item in items)
        wanted, used, limits = (
            ", ".join(str(getattr(item, field)) for item in items) for field in ("requested", "used", "limit")
        )
        detail = "; ".join(item.explain(project_id) for item in items)
        text = f"Quota exceeded for {names}: Requested {wanted}, but already used {used} of {limits} {names}"
        return cls(text, detail=detail)


class TooManyMetadataItems(Forbidden):
    text = "Maximum number of metadata items exceeds {limit}"


class MetadataItemNotFound(NotFound):
    text = "Metadata item was not found"


class TagNotFound(NotFound):
    text = "Server {server_id} has no tag '{tag}'"


class UnknownImage(BadRequest):
    text = "Can not find requested image"


class ImageNotActive(BadRequest):
    text = "Image {image_id} is not active."


class ImageUnusable(BadRequest):
    text = "Image {image_id} is unacceptable: {reason}"


class ImageOverFlavorDisk(BadRequest):
    text = (
        "Flavor's disk is too small for requested image. "
        "Flavor disk is {flavor_bytes} bytes, image is {image_bytes} bytes."
    )


class MinDiskOverFlavorDisk(BadRequest):
    text = (
        "Flavor's disk is smaller than the minimum size specified in image metadata. "
        "Flavor disk is {flavor_bytes} bytes, minimum size is {minimum_bytes} bytes."
    )


class FlavorMemoryTooSmall(BadRequest):
    text = "Flavor's memory is too small for requested image."


class UnknownNetwork(BadRequest):
    text = "Network {network_id} could not be found."


class NetworkNotUsable(BadRequest):
    """A network without a subnet, an external one, or the like."""


class AmbiguousNetwork(Conflict):
    text = "Multiple possible networks found, use a Network ID to be more specific."


class PortNotFound(BadRequest):
    text = "Port {port_id} could not be found."


class PortInUse(Conflict):
    text = "Port {port_id} is still in use."


class UnknownSecurityGroup(BadRequest):
    text = "Security group {name} not found."


class UnknownAvailabilityZone(BadRequest):
    text = "The requested availability zone is not available"


class UnknownHost(BadRequest):
    text = "Compute host {host} could not be found."


class ServerStateConflict(Conflict):
    """The server is in a state that does not allow the action."""

    text = "Cannot '{action}' instance {server_id} while it is in {attribute} {state}"


class ServerBeingCleanedUp(Conflict):
    """What a failed action left is still being taken away; it may take until a sibling service is back."""

    text = "Cannot '{action}' instance {server_id} while what failed before is being cleaned up; it can be deleted"


class ServerNotReady(Conflict):
    text = "Instance {server_id} is not ready"


class ServerLocked(Conflict):
    text = "Instance {server_id} is locked"


class NoValidHost(ServiceError):
    """No host can take the server. `detail` has the reasons per filter, for operators."""

    code = 500
    type = "NoValidHost"
    text = "No valid host was found. There are not enough hosts available."


class HostsSilent(NoValidHost):
    """No host reports now: they are away, or what carries their reports was. They may be back soon."""

    code = 503


class BuildFailed(ServiceError):
    """A server could not be built on any host that was tried; the text is the last host's reason."""

    code = 500
    type = "BuildFailed"
    text = "Build of instance {server_id} aborted: {reason}"


class GuestOperationFailed(ServiceError):
    """The host could not do what was asked of a guest; the text is the host's reason."""

    code = 500
    type = "GuestOperationFailed"
    text = "{reason}"


class HostUnreachable(ServiceError):
    """The agent of the server's host does not answer."""

    code = 503
    type = "HostUnreachable"
    text = "The compute host of this server does not answer at the moment."


class ServiceNotFound(NotFound):
    text = "Service {service_id} could not be found."


class HypervisorNotFound(NotFound):
    text = "Compute host {hypervisor_id} could not be found."


class AggregateNotFound(NotFound):
    text = "Aggregate {aggregate_id} could not be found."


class ServerGroupNotFound(NotFound):
    text = "Instance group {group_id} could not be found."
