"""clouds.yaml and openrc: how stock clients find the cloud."""

from __future__ import annotations

import shlex

import msgspec
import yaml

from pileus.cli import processes
from pileus.cli.layout import Layout
from pileus.kernel.process import secrets


class Login(msgspec.Struct, frozen=True):
    """A user of the cloud. name: of the entry in clouds.yaml."""

    name: str
    username: str
    password: str
    project: str


def write(layout: Layout, logins: list[Login]) -> None:
    """Write clouds.yaml (all logins) and openrc (the first), readable by their owner only."""
    auth_url = processes.service_url(layout, "identity") + "/v3"
    clouds = {
        login.name: {
            "auth": {
                "auth_url": auth_url,
                "username": login.username,
                "password": login.password,
                "project_name": login.project,
                "user_domain_id": "default",
                "project_domain_id": "default",
            },
            "region_name": layout.node.region,
            "identity_api_version": 3,
        }
        for login in logins
    }
    secrets.write_private(layout.clouds_file, yaml.safe_dump({"clouds": clouds}, sort_keys=False).encode())
    first = logins[0]
    variables = {
        "OS_CLIENT_CONFIG_FILE": str(layout.clouds_file),
        "OS_AUTH_URL": auth_url,
        "OS_USERNAME": first.username,
        "OS_PASSWORD": first.password,
        "OS_PROJECT_NAME": first.project,
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": layout.node.region,
        "OS_IDENTITY_API_VERSION": "3",
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    secrets.write_private(layout.openrc_file, ("unset OS_CLOUD\n" + "\n".join(lines) + "\n").encode())
