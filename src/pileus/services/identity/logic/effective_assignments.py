"""From the grants that are stored to what they amount to: groups to their members, inherited grants to the projects
below, roles to those they imply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from pileus.services.identity.logic.roles import origins


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """One role of one actor in one place, and the grant it comes from.

    via_group, via_target (kind and id), via_role: what the grant named instead, where it differs.
    inherited: the grant is one that counts below its target only.
    """

    actor_kind: str
    actor_id: str
    target_kind: str
    target_id: str
    role_id: str
    inherited: bool = False
    via_group: str | None = None
    via_target: tuple[str, str] | None = None
    via_role: str | None = None


def expand(
    stored: Iterable[Effective], *, members: Mapping[str, Iterable[str]], below: Mapping[str, Iterable[str]],
    implied: Mapping[str, Iterable[str]],
) -> list[Effective]:
    """All that follows from the stored grants.

    members: users by group. below: all projects under a project or domain. implied: roles by the role implying them.
    """
    found = (
        final
        for item in stored
        for placed in _placed(item, below)
        for personal in _personal(placed, members)
        for final in _with_implied(personal, implied)
    )
    return list(dict.fromkeys(found))


def _placed(item: Effective, below: Mapping[str, Iterable[str]]) -> Iterator[Effective]:
    if not item.inherited:
        yield item
        return
    for project_id in below.get(item.target_id, ()):
        yield msgspec.structs.replace(
            item, target_kind="project", target_id=project_id, via_target=(item.target_kind, item.target_id)
        )


def _personal(item: Effective, members: Mapping[str, Iterable[str]]) -> Iterator[Effective]:
    if item.actor_kind == "user":
        yield item
        return
    for user_id in members.get(item.actor_id, ()):
        yield msgspec.structs.replace(item, actor_kind="user", actor_id=user_id, via_group=item.actor_id)


def _with_implied(item: Effective, implied: Mapping[str, Iterable[str]]) -> Iterator[Effective]:
    yield item
    for role_id, prior_id in sorted(origins(item.role_id, implied).items()):
        yield msgspec.structs.replace(item, role_id=role_id, via_role=prior_id)
