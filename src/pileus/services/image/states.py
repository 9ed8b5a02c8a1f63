"""States of an image and of a membership, and which transitions there are. Names are those of the public API."""

from __future__ import annotations

from typing import Final

QUEUED, SAVING, ACTIVE, DEACTIVATED = "queued", "saving", "active", "deactivated"

TRANSITIONS: Final = {
    (QUEUED, SAVING),  # an upload begins
    (SAVING, ACTIVE),  # all bytes are stored
    (SAVING, QUEUED),  # the upload failed or died; its bytes are freed
    (ACTIVE, DEACTIVATED),
    (DEACTIVATED, ACTIVE),
}
ALL_STATUSES: Final = ("queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete",
                       "deactivated")
"""Every word that the public schema knows."""

PUBLIC, COMMUNITY, SHARED, PRIVATE = "public", "community", "shared", "private"
VISIBILITIES: Final = (COMMUNITY, PUBLIC, PRIVATE, SHARED)

PENDING, ACCEPTED, REJECTED = "pending", "accepted", "rejected"
MEMBER_STATUSES: Final = (PENDING, ACCEPTED, REJECTED)


def may_become(current: str, wanted: str) -> bool:
    """Whether an image in `current` may go to `wanted`."""
    return (current, wanted) in TRANSITIONS
