"""The error base of every service, and the errors that the kernel itself raises.

A `ServiceError` is what a user may see. How it looks on the wire (body shape, type string) is the business of the
service's `errors.render`; logic and flows raise these without knowing HTTP bodies.
"""

from __future__ import annotations


class ServiceError(Exception):
    """An expected failure with a text for the user.

    code: HTTP status that stands for it. type: the stable name clients branch on (`itemNotFound`, `NetworkInUse`).
    text: what the user reads. detail: private, logged only.
    """

    code: int = 500
    type: str = "InternalError"
    text: str = "An unexpected error prevented the server from fulfilling your request."

    def __init__(self, text: str | None = None, *, detail: str | None = None, **values: object) -> None:
        self.text = text if text is not None else type(self).text.format(**values)
        self.values = values
        self.detail = detail
        self.headers: dict[str, str] = {}
        super().__init__(self.text)


class BadRequest(ServiceError):
    code = 400
    type = "badRequest"
    text = "The request could not be understood."


class Unauthorized(ServiceError):
    code = 401
    type = "unauthorized"
    text = "The request you have made requires authentication."


class Forbidden(ServiceError):
    """Policy said no. `rule` is the policy rule that refused."""

    code = 403
    type = "forbidden"
    text = "Policy doesn't allow {rule} to be performed."


class NotFound(ServiceError):
    code = 404
    type = "itemNotFound"
    text = "The resource could not be found."


class RouteNotFound(NotFound):
    """No route matches the path: nothing of that name is offered."""


class MethodNotAllowed(ServiceError):
    code = 405
    type = "methodNotAllowed"
    text = "The method is not allowed for this resource."


class NotAcceptable(ServiceError):
    """The asked microversion is outside what the service offers."""

    code = 406
    type = "computeFault"
    text = "Version {version} is not supported by the API. Minimum is {minimum} and maximum is {maximum}."


class RequestTimeout(ServiceError):
    code = 408
    type = "requestTimeout"
    text = "The request's body did not arrive within {limit} seconds."


class Conflict(ServiceError):
    code = 409
    type = "conflictingRequest"
    text = "The request conflicts with the current state of the resource."


class Gone(ServiceError):
    code = 410
    type = "gone"
    text = "This resource is no longer available."


class PayloadTooLarge(ServiceError):
    code = 413
    type = "overLimit"
    text = "The request body is too large: at most {limit} bytes are accepted."


class UnsupportedMediaType(ServiceError):
    code = 415
    type = "badMediaType"
    text = "The content type {content_type} is not supported here."


class Unavailable(ServiceError):
    """Something this service needs does not answer now; trying again later is right."""

    code = 503
    type = "serviceUnavailable"
    text = "The service is temporarily unavailable."


class RemoteError(ServiceError):
    """A failure that another role reported over the bus, or a sibling service over its API."""

    def __init__(self, code: int, type_: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.type = type_
