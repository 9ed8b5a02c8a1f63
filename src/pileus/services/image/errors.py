"""Every error that the image service shows its users, and how a fault looks on the wire.

Faults are small HTML pages: the shape that image clients take apart (they strip the tags and keep the lines). Only 401
is JSON, as from any token-checking service.
"""

from __future__ import annotations

import html
from http import HTTPStatus

import msgspec

from pileus.kernel.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    PayloadTooLarge,
    ServiceError,
    Unavailable,
    UnsupportedMediaType,
)

_PAGE = """<html>
 <head>
  <title>{status}</title>
 </head>
 <body>
  <h1>{status}</h1>
  {text}<br /><br />



 </body>
</html>"""
_TITLES = {413: "Request Entity Too Large", 416: "Requested Range Not Satisfiable"}


def render(error: ServiceError, request_id: str) -> tuple[bytes, str]:
    """A fault as image clients know it."""
    if error.code == 401:
        inner = {"code": 401, "title": "Unauthorized", "message": error.text}
        return msgspec.json.encode({"error": inner}), "application/json"
    title = _TITLES.get(error.code) or HTTPStatus(error.code).phrase
    # ASCII alone survives clients that guess the encoding wrongly.
    text = html.escape(error.text, quote=False).encode("ascii", "xmlcharrefreplace").decode()
    return _PAGE.format(status=f"{error.code} {title}", text=text).encode(), "text/html"


class ImageNotFound(NotFound):
    text = "No image found with ID {image_id}"


class InvalidAttribute(BadRequest):
    """An attribute has a value that the schema does not allow."""

    text = "Provided object does not match schema 'image': {reason}"


class InvalidPatch(BadRequest):
    text = "{reason}"


class ReadOnlyAttribute(Forbidden):
    text = "Attribute '{name}' is read-only."


class ReservedAttribute(Forbidden):
    text = "Attribute '{name}' is reserved."


class NotRemovable(Forbidden):
    text = "Property {name} may not be removed."


class NoSuchProperty(Conflict):
    text = "Property {name} does not exist."


class PropertyPresent(Conflict):
    text = "Property {name} already present."


class FixedFormat(Forbidden):
    text = "Attribute {name} can be only replaced for a queued image."


class OwnerFixed(Forbidden):
    text = "Owner can't be updated by non admin."


class ForeignOwner(Forbidden):
    text = "You are not permitted to create images owned by '{owner}'."


class ImageExists(Conflict):
    text = "Image ID {image_id} already exists!"


class ImageProtected(Forbidden):
    text = "Image {image_id} is protected and cannot be deleted."


class WrongTransition(Conflict):
    text = "Image status transition from {current} to {wanted} is not allowed"


class ActionRefused(Forbidden):
    text = "Image {image_id} is {status}: {action} is not possible in this status."


class FormatMissing(BadRequest):
    text = "Properties {names} must be set prior to saving data."


class ImageDeactivated(Forbidden):
    text = "The requested image has been deactivated. Image data download is forbidden."


class ImageVanished(Gone):
    text = "Image {image_id} could not be found after upload. The image may have been deleted during the upload."


class ContentRefused(UnsupportedMediaType):
    """The format gate refused the bytes."""

    text = "The image data was refused. {reason}"


class WrongMediaType(UnsupportedMediaType):
    text = "The content type of image data is application/octet-stream, not {content_type}."


class PatchMediaType(UnsupportedMediaType):
    text = "Image PATCH expects Content-Type one of: {allowed}"


class TooLarge(PayloadTooLarge):
    text = "The incoming image is too large: at most {limit} bytes are accepted."


class StoreFull(PayloadTooLarge):
    text = "Image storage media is full."


class OverQuota(PayloadTooLarge):
    text = (
        "Project {project_id} is over a limit for [Resource {name} is over limit of {limit} due to current usage {used}"
        " and delta {requested}]"
    )


class LimitExceeded(PayloadTooLarge):
    text = "The limit has been exceeded on the number of allowed image {what}. Attempted: {wanted}, Maximum: {limit}"


class SizeMismatch(BadRequest):
    text = "The upload was announced with {announced} bytes but {received} bytes arrived."


class UploadStalled(ServiceError):
    code = 408
    type = "requestTimeout"
    text = "The upload sent nothing for {seconds} seconds."


class UnknownStore(BadRequest):
    text = "Store {store} is not known here."


class RangeNotSatisfiable(ServiceError):
    code = 416
    type = "rangeNotSatisfiable"
    text = "The range {given} cannot be read from an image of {size} bytes."


class DataUnavailable(Unavailable):
    text = "The data of image {image_id} cannot be read now."


class StoreFailed(Unavailable):
    text = "The image store does not take the data now."


class NotShared(Forbidden):
    text = "Only shared images have members."


class MemberRefused(Forbidden):
    text = "{reason}"


class MemberExists(Conflict):
    text = "Member {member_id} is duplicated for image {image_id}"


class MemberNotFound(NotFound):
    text = "{member_id} not found in the member list of the image {image_id}."
