"""Every policy rule of identity. Names and defaults are those that operators' policy files know.

Where upstream limits a rule to some kinds of scope, the check says it: `system_or_project` refuses domain tokens.
"""

from __future__ import annotations

from pileus.kernel.policy import Rule

ADMIN = "rule:admin_required"
ADMIN_ANY = "rule:admin_required and rule:system_or_project"
SYSTEM_READER = "(role:reader and system_scope:all)"
ADMIN_OR_SYSTEM_READER = f"({ADMIN_ANY}) or {SYSTEM_READER}"
DOMAIN_READER = f"{ADMIN} or {SYSTEM_READER} or (role:reader and domain_id:%(target.domain_id)s)"

USER_READER = f"{ADMIN} or {SYSTEM_READER} or (role:reader and domain_id:%(target.user.domain_id)s)"
USER_SELF = f"{USER_READER} or user_id:%(target.user.id)s"
USER_WRITER = f"{ADMIN} or (role:manager and domain_id:%(target.user.domain_id)s)"

PROJECT_READER = (
    f"{ADMIN} or {SYSTEM_READER} or (role:reader and domain_id:%(target.project.domain_id)s) "
    "or project_id:%(target.project.id)s"
)
PROJECT_WRITER = f"{ADMIN} or (role:manager and domain_id:%(target.project.domain_id)s)"

GROUP_READER = f"{ADMIN} or {SYSTEM_READER} or (role:reader and domain_id:%(target.group.domain_id)s)"
GROUP_WRITER = f"{ADMIN} or (role:manager and domain_id:%(target.group.domain_id)s)"
IN_BOTH = "domain_id:%(target.group.domain_id)s and domain_id:%(target.user.domain_id)s"


def _in_own_domain(role: str) -> str:
    actors = ("target.user.domain_id", "target.group.domain_id")
    targets = ("target.project.domain_id", "target.domain.id")
    pairs = [f"(role:{role} and domain_id:%({a})s and domain_id:%({t})s)" for a in actors for t in targets]
    return "(" + " or ".join(pairs) + ")"


ROLE_FITS = "(domain_id:%(target.role.domain_id)s or None:%(target.role.domain_id)s)"
GRANT_LIST = f"{ADMIN} or {SYSTEM_READER} or {_in_own_domain('reader')}"
GRANT_READER = f"{ADMIN} or (({SYSTEM_READER} or {_in_own_domain('reader')}) and {ROLE_FITS})"
GRANT_WRITER = (
    f"{ADMIN} or ({_in_own_domain('admin')} and {ROLE_FITS}) "
    f"or ({_in_own_domain('manager')} and rule:domain_managed_target_role)"
)

RULES = (
    Rule("admin_required", "role:admin"),
    Rule("service_role", "role:service"),
    Rule("service_or_admin", "rule:admin_required or rule:service_role"),
    Rule("owner", "user_id:%(user_id)s"),
    Rule("admin_or_owner", "rule:admin_required or rule:owner"),
    Rule("token_subject", "user_id:%(target.token.user_id)s"),
    Rule("admin_or_token_subject", "rule:admin_required or rule:token_subject"),
    Rule("service_admin_or_token_subject", "rule:service_or_admin or rule:token_subject"),
    Rule("system_or_project", "system_scope:all or project_id:%(project_id)s", "the caller's token is for no domain"),
    Rule(
        "domain_managed_target_role",
        "'manager':%(target.role.name)s or 'member':%(target.role.name)s or 'reader':%(target.role.name)s",
        "roles that a domain's manager may give and take",
    ),
    Rule("identity:get_auth_catalog", "", "show the catalogue of one's own token"),
    Rule("identity:get_auth_projects", "", "list projects that one has a role on"),
    Rule("identity:get_auth_domains", "", "list domains that one has a role on"),
    Rule("identity:get_auth_system", "", "list system scopes that one has a role on"),
    Rule("identity:check_token", f"{ADMIN} or {SYSTEM_READER} or rule:token_subject", "check a token"),
    Rule(
        "identity:validate_token", f"{ADMIN} or {SYSTEM_READER} or rule:service_role or rule:token_subject",
        "show what a token is for",
    ),
    Rule("identity:revoke_token", "rule:admin_or_token_subject", "revoke a token"),
    # users
    Rule("identity:get_user", USER_SELF, "show a user"),
    Rule("identity:list_users", DOMAIN_READER, "list users"),
    Rule("identity:create_user", USER_WRITER, "create a user"),
    Rule("identity:update_user", USER_WRITER, "update a user"),
    Rule("identity:delete_user", USER_WRITER, "delete a user"),
    Rule("identity:list_user_projects", USER_SELF, "list projects that a user has a role on"),
    # groups
    Rule("identity:get_group", GROUP_READER, "show a group"),
    Rule("identity:list_groups", DOMAIN_READER, "list groups"),
    Rule("identity:list_groups_for_user", USER_SELF, "list groups that a user is in"),
    Rule("identity:create_group", GROUP_WRITER, "create a group"),
    Rule("identity:update_group", GROUP_WRITER, "update a group"),
    Rule("identity:delete_group", GROUP_WRITER, "delete a group"),
    Rule("identity:list_users_in_group", GROUP_READER, "list a group's users"),
    Rule(
        "identity:check_user_in_group", f"{ADMIN} or {SYSTEM_READER} or (role:reader and {IN_BOTH})",
        "check that a user is in a group",
    ),
    Rule("identity:add_user_to_group", f"{ADMIN} or (role:manager and {IN_BOTH})", "add a user to a group"),
    Rule("identity:remove_user_from_group", f"{ADMIN} or (role:manager and {IN_BOTH})", "remove a user from a group"),
    # projects
    Rule("identity:get_project", PROJECT_READER, "show a project"),
    Rule("identity:list_projects", DOMAIN_READER, "list projects"),
    Rule("identity:create_project", PROJECT_WRITER, "create a project"),
    Rule("identity:update_project", PROJECT_WRITER, "update a project"),
    Rule("identity:delete_project", PROJECT_WRITER, "delete a project"),
    Rule("identity:list_project_tags", PROJECT_READER, "list a project's tags"),
    Rule("identity:get_project_tag", PROJECT_READER, "check for a project's tag"),
    Rule("identity:update_project_tags", PROJECT_WRITER, "replace a project's tags"),
    Rule("identity:create_project_tag", PROJECT_WRITER, "add a tag to a project"),
    Rule("identity:delete_project_tags", PROJECT_WRITER, "remove a project's tags"),
    Rule("identity:delete_project_tag", PROJECT_WRITER, "remove a tag from a project"),
    # domains
    Rule(
        "identity:get_domain",
        f"{ADMIN} or {SYSTEM_READER} or domain_id:%(target.domain.id)s or project_domain_id:%(target.domain.id)s",
        "show a domain",
    ),
    Rule("identity:list_domains", DOMAIN_READER, "list domains"),
    Rule("identity:create_domain", ADMIN_ANY, "create a domain"),
    Rule("identity:update_domain", ADMIN_ANY, "update a domain"),
    Rule("identity:delete_domain", ADMIN_ANY, "delete a domain"),
    # roles
    Rule(
        "identity:get_role",
        f"{ADMIN} or {SYSTEM_READER} or (role:manager and rule:domain_managed_target_role)", "show a role",
    ),
    Rule(
        "identity:list_roles", f"{ADMIN} or {SYSTEM_READER} or (role:manager and domain_id:%(domain_id)s)",
        "list roles",
    ),
    Rule("identity:create_role", ADMIN_ANY, "create a role"),
    Rule("identity:update_role", ADMIN_ANY, "update a role"),
    Rule("identity:delete_role", ADMIN_ANY, "delete a role"),
    Rule("identity:get_domain_role", ADMIN_OR_SYSTEM_READER, "show a domain's role"),
    Rule("identity:list_domain_roles", ADMIN_OR_SYSTEM_READER, "list a domain's roles"),
    Rule("identity:create_domain_role", ADMIN_ANY, "create a domain's role"),
    Rule("identity:update_domain_role", ADMIN_ANY, "update a domain's role"),
    Rule("identity:delete_domain_role", ADMIN_ANY, "delete a domain's role"),
    Rule("identity:get_implied_role", ADMIN_OR_SYSTEM_READER, "show what a role implies"),
    Rule("identity:list_implied_roles", ADMIN_OR_SYSTEM_READER, "list what a role implies"),
    Rule("identity:create_implied_role", ADMIN_ANY, "make a role imply another"),
    Rule("identity:delete_implied_role", ADMIN_ANY, "make a role not imply another"),
    Rule("identity:check_implied_role", ADMIN_OR_SYSTEM_READER, "check whether a role implies another"),
    Rule("identity:list_role_inference_rules", ADMIN_OR_SYSTEM_READER, "list all implications of roles"),
    # grants
    Rule("identity:list_role_assignments", DOMAIN_READER, "list role assignments"),
    Rule("identity:list_role_assignments_for_tree", DOMAIN_READER, "list role assignments of a project and below"),
    Rule("identity:check_grant", GRANT_READER, "check a role assignment"),
    Rule("identity:list_grants", GRANT_LIST, "list roles of somebody on something"),
    Rule("identity:create_grant", GRANT_WRITER, "assign a role"),
    Rule("identity:revoke_grant", GRANT_WRITER, "take a role back"),
    Rule("identity:list_system_grants_for_user", ADMIN_OR_SYSTEM_READER, "list a user's system roles"),
    Rule("identity:check_system_grant_for_user", ADMIN_OR_SYSTEM_READER, "check a user's system role"),
    Rule("identity:create_system_grant_for_user", ADMIN_ANY, "give a user a system role"),
    Rule("identity:revoke_system_grant_for_user", ADMIN_ANY, "take a system role from a user"),
    Rule("identity:list_system_grants_for_group", ADMIN_OR_SYSTEM_READER, "list a group's system roles"),
    Rule("identity:check_system_grant_for_group", ADMIN_OR_SYSTEM_READER, "check a group's system role"),
    Rule("identity:create_system_grant_for_group", ADMIN_ANY, "give a group a system role"),
    Rule("identity:revoke_system_grant_for_group", ADMIN_ANY, "take a system role from a group"),
    # catalogue
    Rule("identity:get_region", "", "show a region"),
    Rule("identity:list_regions", "", "list regions"),
    Rule("identity:create_region", ADMIN_ANY, "create a region"),
    Rule("identity:update_region", ADMIN_ANY, "update a region"),
    Rule("identity:delete_region", ADMIN_ANY, "delete a region"),
    Rule("identity:get_service", ADMIN_OR_SYSTEM_READER, "show a service"),
    Rule("identity:list_services", ADMIN_OR_SYSTEM_READER, "list services"),
    Rule("identity:create_service", ADMIN_ANY, "create a service"),
    Rule("identity:update_service", ADMIN_ANY, "update a service"),
    Rule("identity:delete_service", ADMIN_ANY, "delete a service"),
    Rule("identity:get_endpoint", ADMIN_OR_SYSTEM_READER, "show an endpoint"),
    Rule("identity:list_endpoints", ADMIN_OR_SYSTEM_READER, "list endpoints"),
    Rule("identity:create_endpoint", ADMIN_ANY, "create an endpoint"),
    Rule("identity:update_endpoint", ADMIN_ANY, "update an endpoint"),
    Rule("identity:delete_endpoint", ADMIN_ANY, "delete an endpoint"),
)
