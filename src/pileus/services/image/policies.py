"""Policy rules of the image service, with the names and defaults that operators' files know.

Targets: project_id and owner are the image's owner, visibility is the image's, member_id is the member (or the caller's
own project when the image is shared with it).
"""

from __future__ import annotations

from typing import Final

from pileus.kernel.policy import Rule

_ADMIN: Final = "rule:context_is_admin"
_MEMBER: Final = f"{_ADMIN} or (role:member and project_id:%(project_id)s)"
_READER: Final = f"{_ADMIN} or (role:reader and project_id:%(project_id)s)"
_VISIBLE: Final = (
    "(project_id:%(project_id)s or project_id:%(member_id)s or 'community':%(visibility)s "
    "or 'public':%(visibility)s or 'shared':%(visibility)s)"
)

RULES: Final = (
    Rule("context_is_admin", "role:admin", "Who counts as administrator."),
    Rule("default", "", "For rules that older policy files refer to."),
    Rule("service_api", "role:service or role:admin", "Calls of other services."),
    Rule("add_image", f"{_ADMIN} or (role:member and project_id:%(project_id)s and project_id:%(owner)s)",
         "Create an image for an owner."),
    Rule("get_image", f"{_ADMIN} or (role:reader and {_VISIBLE})", "Show an image."),
    Rule("get_images", _READER, "List images."),
    Rule("modify_image", _MEMBER, "Change attributes and tags."),
    Rule("delete_image", _MEMBER, "Delete an image and its data."),
    Rule("publicize_image", _ADMIN, "Make an image public."),
    Rule("communitize_image", _MEMBER, "Make an image a community image."),
    Rule("download_image", f"{_ADMIN} or (role:member and {_VISIBLE})", "Read an image's data."),
    Rule("upload_image", _MEMBER, "Store an image's data."),
    Rule("deactivate", _MEMBER, "Stop downloads of an image."),
    Rule("reactivate", _MEMBER, "Allow downloads again."),
    Rule("add_member", _MEMBER, "Share an image with a project."),
    Rule("delete_member", _MEMBER, "Stop sharing an image with a project."),
    Rule("get_member", f"{_ADMIN} or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)",
         "Show one member."),
    Rule("get_members", f"{_ADMIN} or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)",
         "List members."),
    Rule("modify_member", f"{_ADMIN} or (role:member and project_id:%(member_id)s)", "Accept or reject an image."),
    Rule("stores_info_detail", f"{_ADMIN} or rule:service_api", "Show how stores are set up."),
)
