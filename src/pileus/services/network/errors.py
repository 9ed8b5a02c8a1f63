"""Every error that the network API shows its users: code, type, text; and how a fault looks on the wire."""

from __future__ import annotations

from typing import Any

import msgspec

from pileus.kernel import errors as kernel
from pileus.kernel.errors import ServiceError

KERNEL_TYPES: tuple[tuple[type[ServiceError], str], ...] = (
    (kernel.Forbidden, "PolicyNotAuthorized"),
    (kernel.RouteNotFound, "HTTPNotFound"),
    (kernel.MethodNotAllowed, "HTTPMethodNotAllowed"),
    (kernel.PayloadTooLarge, "HTTPRequestEntityTooLarge"),
    (kernel.UnsupportedMediaType, "HTTPUnsupportedMediaType"),
    (kernel.Unavailable, "ServiceUnavailable"),
)


def render(error: ServiceError, request_id: str) -> tuple[bytes, str]:
    """A fault as network clients know it."""
    if error.code == 401:
        body: dict[str, Any] = {"error": {"code": 401, "title": "Unauthorized", "message": error.text}}
        return msgspec.json.encode(body), "application/json"
    kind, text = error.type, error.text
    for cls, name in KERNEL_TYPES:
        if type(error) is cls:
            kind = name
    if type(error) is kernel.Forbidden:
        text = f"rule:{error.values.get('rule')} is disallowed by policy"
    elif type(error) is kernel.BadRequest:
        kind = "HTTPBadRequest"
    elif type(error) is ServiceError:
        kind, text = "HTTPInternalServerError", "Request Failed: internal server error while processing your request."
    return msgspec.json.encode({"NeutronError": {"type": kind, "message": text, "detail": ""}}), "application/json"


class NetworkError(ServiceError):
    """Base of the service's own errors: the type that clients branch on is the class's name."""

    def __init_subclass__(cls) -> None:
        cls.type = cls.__name__


class BadInput(NetworkError):
    code = 400


class NotFound(NetworkError):
    code = 404


class Conflict(NetworkError):
    code = 409


# --- 400 --------------------------------------------------------------------------------------------------------


class HTTPBadRequest(BadInput):
    """The body or the query itself cannot be used."""

    text = "{reason}"


class InvalidInput(BadInput):
    text = "Invalid input for operation: {reason}."


class InvalidIpForNetwork(BadInput):
    text = "IP address {ip} is not a valid IP for any of the subnets on the specified network."


class InvalidIpForSubnet(BadInput):
    text = "IP address {ip} is not a valid IP for the specified subnet."


class InvalidAllocationPool(BadInput):
    text = "The allocation pool {pool} is not valid."


class OutOfBoundsAllocationPool(BadInput):
    text = "The allocation pool {pool} spans beyond the subnet cidr {cidr}."


class BadRequest(BadInput):
    """Something about a router, floating IP or port request that makes no sense."""

    text = "Bad {resource} request: {reason}."


class ExternalIpAddressExhausted(BadInput):
    text = "Unable to find any IP address on external network {network_id}."


class PortSecurityAndIPRequiredForSecurityGroups(BadInput):
    text = "Port security must be enabled and port must have an IP address in order to use security groups."


class AddressPairAndPortSecurityRequired(Conflict):
    text = "Port Security must be enabled in order to have allowed address pairs on a port."


class AddressPairMatchesPortFixedIPAndMac(BadInput):
    text = "Port's Fixed IP and Mac Address match an address pair entry."


class AllowedAddressPairExhausted(BadInput):
    text = "The number of allowed address pair exceeds the maximum {limit}."


class IllegalSubnetPoolPrefixUpdate(BadInput):
    text = "Illegal update to prefixes: a subnet pool may grow but not shrink."


class InvalidRoutes(BadInput):
    text = "Invalid format for routes: {routes}, {reason}"


class RoutesExhausted(BadInput):
    text = "Unable to complete operation for {router_id}. The number of routes exceeds the maximum {limit}."


class InvalidQuotaValue(Conflict):
    text = "Change would make usage less than 0 for the following resources: {names}."


class SecurityGroupInvalidPortRange(BadInput):
    text = "For TCP/UDP protocols, port_range_min must be <= port_range_max"


class SecurityGroupInvalidPortValue(BadInput):
    text = "Invalid value for port {port}"


class SecurityGroupInvalidProtocolForPort(BadInput):
    text = "Invalid protocol {protocol} for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP."


class SecurityGroupProtocolRequiredWithPorts(BadInput):
    text = "Must also specify protocol if port range is given."


class SecurityGroupInvalidIcmpValue(BadInput):
    text = "Invalid value for ICMP {field} ({attr}) {value}. It must be 0 to 255."


class SecurityGroupMissingIcmpType(BadInput):
    text = "ICMP code (port-range-max) {value} is provided but ICMP type (port-range-min) is missing."


class SecurityGroupEthertypeConflictWithProtocol(BadInput):
    text = "Invalid ethertype {ethertype} for protocol {protocol}."


class SecurityGroupRuleInvalidProtocol(BadInput):
    text = (
        "Security group rule protocol {protocol} not supported. Only protocol values {values} and integer "
        "representations [0 to 255] are supported."
    )


class SecurityGroupRuleParameterConflict(BadInput):
    text = "Conflicting value ethertype {ethertype} for CIDR {cidr}"


class SecurityGroupRemoteGroupAndRemoteIpPrefix(BadInput):
    text = "Only remote_ip_prefix or remote_group_id may be provided."


# --- 404 --------------------------------------------------------------------------------------------------------


class NetworkNotFound(NotFound):
    text = "Network {id} could not be found."


class SubnetNotFound(NotFound):
    text = "Subnet {id} could not be found."


class SubnetPoolNotFound(NotFound):
    text = "Subnet pool {id} could not be found."


class PortNotFound(NotFound):
    text = "Port {id} could not be found."


class RouterNotFound(NotFound):
    text = "Router {id} could not be found"


class FloatingIPNotFound(NotFound):
    text = "Floating IP {id} could not be found"


class SecurityGroupNotFound(NotFound):
    text = "Security group {id} does not exist"


class SecurityGroupRuleNotFound(NotFound):
    text = "Security group rule {id} does not exist"


class AgentNotFound(NotFound):
    text = "Agent {id} could not be found."


class AvailabilityZoneNotFound(NotFound):
    text = "AvailabilityZone {zone} could not be found."


class ExtensionsNotFound(NotFound):
    text = "Extensions not found: {id}."


class TagNotFound(NotFound):
    text = "Tag {tag} could not be found."


class TenantQuotaNotFound(NotFound):
    text = "Quota for tenant {id} could not be found."


class TagResourceNotFound(NotFound):
    text = "Resource {resource} {id} could not be found."


class RouterInterfaceNotFound(NotFound):
    text = "Router {router_id} does not have an interface with id {port_id}"


class RouterInterfaceNotFoundForSubnet(NotFound):
    text = "Router {router_id} has no interface on subnet {subnet_id}"


class ExternalGatewayForFloatingIPNotFound(NotFound):
    text = (
        "External network {network_id} is not reachable from subnet {subnet_id}.  Therefore, cannot associate Port "
        "{port_id} with a Floating IP."
    )


# --- 409 --------------------------------------------------------------------------------------------------------


class NetworkInUse(Conflict):
    text = (
        "Unable to complete operation on network {id}. There are one or more ports still in use on the network, id "
        "for these ports is {ports}."
    )


class SubnetInUse(Conflict):
    text = "Unable to complete operation on subnet {id}: {reason}."


class SubnetAllocationError(Conflict):
    text = "Failed to allocate subnet: {reason}."


class SubnetPoolDeleteError(Conflict):
    text = "Unable to delete subnet pool: {reason}."


class SubnetPoolQuotaExceeded(Conflict):
    text = "Per-tenant subnet pool prefix quota exceeded."


class PortInUse(Conflict):
    text = (
        "Unable to complete operation on port {id} for network {network_id}. Port already has an attached device "
        "{device}."
    )


class ServicePortInUse(Conflict):
    text = "Port {id} cannot be deleted directly via the port API: {reason}."


class MacAddressInUse(Conflict):
    text = "Unable to complete operation for network {network_id}. The mac address {mac} is in use."


class MacAddressGenerationFailure(Conflict):
    code = 503
    text = "Unable to generate unique mac on network {network_id}."


class IpAddressInUse(Conflict):
    text = "Unable to complete operation for network {network_id}. The IP address {ip} is in use."


class IpAddressAlreadyAllocated(Conflict):
    text = "IP address {ip} already allocated in subnet {subnet_id}"


class IpAddressGenerationFailure(Conflict):
    text = "No more IP addresses available on network {network_id}."


class OverlappingAllocationPools(Conflict):
    text = "Found overlapping allocation pools: {pool_1} {pool_2} for subnet {cidr}."


class GatewayConflictWithAllocationPools(Conflict):
    text = "Gateway ip {ip} conflicts with allocation pool {pool}."


class GatewayIpInUse(Conflict):
    text = "Current gateway ip {ip} already in use by port {port_id}. Unable to update."


class InvalidSharedSetting(Conflict):
    text = "Unable to reconfigure sharing settings for network {id}. Multiple tenants are using it."


class ExternalNetworkInUse(Conflict):
    text = (
        "External network {id} cannot be updated to be made non-external, since it has existing gateway ports or "
        "floating IPs."
    )


class FlatNetworkInUse(Conflict):
    text = "Unable to create the flat network. Physical network {physical_network} is in use."


class VlanIdInUse(Conflict):
    text = "Unable to create the network. The VLAN {segmentation_id} on physical network {physical_network} is in use."


class TunnelIdInUse(Conflict):
    text = "Unable to create the network. The tunnel ID {segmentation_id} is in use."


class NoNetworkAvailable(Conflict):
    code = 503
    text = "Unable to create the network. No tenant network is available for allocation."


class OverQuota(Conflict):
    text = "Quota exceeded for resources: {names}."


class SecurityGroupInUse(Conflict):
    text = "Security Group {id} in use."


class SecurityGroupRuleExists(Conflict):
    text = "Security group rule already exists. Rule id is {id}."


class SecurityGroupCannotRemoveDefault(Conflict):
    text = "Insufficient rights for removing default security group."


class SecurityGroupCannotUpdateDefault(Conflict):
    text = "Updating default security group not allowed."


class SecurityGroupDefaultAlreadyExists(Conflict):
    text = "Default security group already exists."


class RouterInUse(Conflict):
    text = "Router {id} still has ports"


class RouterInterfaceInUseByFloatingIP(Conflict):
    text = (
        "Router interface for subnet {subnet_id} on router {router_id} cannot be deleted, as it is required by one or "
        "more floating IPs."
    )


class RouterInterfaceInUseByRoute(Conflict):
    text = (
        "Router interface for subnet {subnet_id} on router {router_id} cannot be deleted, as it is required by one or "
        "more routes."
    )


class RouterExternalGatewayInUseByFloatingIp(Conflict):
    text = (
        "Gateway cannot be updated for router {router_id}, since a gateway to external network {network_id} is "
        "required by one or more floating IPs."
    )


class SubnetMismatchForPort(BadInput):
    text = "Subnet on port {port_id} does not match the requested subnet {subnet_id}"


class FloatingIPPortAlreadyAssociated(Conflict):
    text = (
        "Cannot associate floating IP {floating_ip} ({id}) with port {port_id} using fixed IP {fixed_ip}, as that "
        "fixed IP already has a floating IP on external network {network_id}."
    )


class PortBound(Conflict):
    text = (
        "Unable to complete operation on port {id}, port is already bound, port type: {vif_type}, old_mac {old}, "
        "new_mac {new}."
    )


class AgentInUse(Conflict):
    text = "Agent {id} is alive; only an agent that is gone can be removed."


class RevisionNumberConstraintFailed(NetworkError):
    code = 412
    text = "Constrained to {expected}, but current revision is {current}"
