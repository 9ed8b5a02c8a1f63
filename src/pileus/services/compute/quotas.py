"""Everything compute limits, and how it is counted. Names and defaults are those that operators know."""

from __future__ import annotations

from collections.abc import Mapping

from pileus.kernel.quota import Limited
from pileus.services.compute.db import keypairs, server_groups, servers
from pileus.services.compute.db.metadata import QUOTAS
from pileus.services.compute.db.quota_classes import ClassQuotas

LIMITED = (
    Limited("instances", 10, servers.count_of_project),
    Limited("cores", 20, servers.cores_of_project),
    Limited("ram", 51_200, servers.ram_of_project),
    Limited("key_pairs", 100, keypairs.count_of_user),
    Limited("metadata_items", 128),
    Limited("server_groups", 10, server_groups.count_of_project),
    Limited("server_group_members", 10),
    Limited("injected_files", 5),
    Limited("injected_file_content_bytes", 10_240),
    Limited("injected_file_path_bytes", 255),
    # The network service counts these; the old quota API still names them.
    Limited("fixed_ips", -1),
    Limited("floating_ips", -1),
    Limited("security_groups", -1),
    Limited("security_group_rules", -1),
)

NETWORK_LIMITS = frozenset({"fixed_ips", "floating_ips", "security_groups", "security_group_rules", "networks"})
"""Not shown from 2.36 on."""
INJECTION_LIMITS = frozenset({"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"})
"""Not shown from 2.57 on."""
GROUP_LIMITS = frozenset({"server_groups", "server_group_members"})


def quotas(defaults: Mapping[str, int] | None = None) -> ClassQuotas:
    """The limits of this cloud; `defaults` are the operator's."""
    return ClassQuotas(QUOTAS, LIMITED, defaults)
