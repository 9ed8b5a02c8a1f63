"""`pileus demo`: what a new cloud needs before it is of use, and a first guest. What exists is left alone."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pileus.cli import credentials, daemon, processes, up
from pileus.cli.api import Api
from pileus.cli.credentials import Login
from pileus.cli.layout import Layout
from pileus.kernel.process import secrets
from pileus.kernel.process.buses import is_local

BOOT_TIMEOUT_S = 240.0
SSH_TIMEOUT_S = 120.0
HOST_TIMEOUT_S = 60.0
POLL_S = 0.5
NETWORK_AGENTS = 3  # L2, L3, DHCP

FLAVORS = (  # name, vcpus, ram in MiB, disk in GiB
    ("m1.nano", 1, 128, 1),
    ("m1.tiny", 1, 512, 1),
    ("m1.small", 1, 2048, 20),
    ("m1.medium", 2, 4096, 40),
    ("m1.large", 4, 8192, 80),
)
PHYSICAL_NETWORK = "public"
EXTERNAL_CIDR, EXTERNAL_GATEWAY = "172.24.4.0/24", "172.24.4.1"
EXTERNAL_POOL = {"start": "172.24.4.10", "end": "172.24.4.254"}
PRIVATE_CIDR = "10.0.0.0/24"
OPEN_PORTS = (("icmp", None), ("tcp", 22))


def demo(layout: Layout, image: str) -> int:
    """Make everything that is missing, wait for the guest's ssh, print how to log in."""
    one_process = is_local(layout.tables)  # else the APIs may be in any process
    url = processes.service_url(layout, "identity") + "/v3"
    if (one_process and daemon.running_pid(processes.whole(layout)) is None) or not daemon.url_answers(url):
        raise RuntimeError(f"the cloud in {layout.state_dir} does not run; start it with `pileus up`")
    say = _Progress()
    admin = Api(layout.node.url, processes.api_roots(layout))
    login = up.admin(layout)
    admin.log_in(login.username, login.password, login.project)
    say("flavors " + ", ".join(name for name, *_ in FLAVORS))
    _flavors(admin)
    say(f"image pileus-guest from {image}")
    image_id = _image(admin, Path(image))
    say("external network public")
    external = _external_network(admin)
    user = up.demo_user(layout)
    say("project and user demo")
    _project(admin, user)
    credentials.write(layout, [login, user])

    demo_api = Api(layout.node.url, processes.api_roots(layout))
    demo_api.log_in(user.username, user.password, user.project)
    say("network private, router, security group rules, key")
    network = _private_network(demo_api, external)
    _open_ports(demo_api)
    key = _keypair(demo_api, layout.state_dir / "demo_key")
    say("waiting for a host that takes guests")
    say(_wait_host(admin))
    say("server first")
    server = _server(demo_api, image_id, network)
    _wait_active(demo_api, server, say)
    address = _floating_ip(demo_api, server, external)
    command = _ssh_command(key, address)
    say(f"waiting for ssh at {address}")
    _wait_ssh(command)
    say("done")
    print(f"\nA first guest is up. Log in:\n\n    {' '.join(command)}\n")
    print(f"As its owner: export OS_CLIENT_CONFIG_FILE={layout.clouds_file} OS_CLOUD=pileus; openstack server list")
    return 0


class _Progress:
    """One line per step, with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"[{time.monotonic() - self._started:5.1f} s] {text}", flush=True)


def _flavors(api: Api) -> None:
    known = {flavor["name"] for flavor in api.get("/compute/v2.1/flavors", is_public="none")["flavors"]}
    for name, vcpus, ram, disk in FLAVORS:
        if name not in known:
            body = {"name": name, "vcpus": vcpus, "ram": ram, "disk": disk}
            api.post("/compute/v2.1/flavors", {"flavor": body})


def _image(api: Api, path: Path) -> str:
    found = api.find("/image/v2/images?name=pileus-guest", "images", name="pileus-guest", status="active")
    if found:
        return found["id"]
    body = {
        "name": "pileus-guest", "disk_format": "qcow2", "container_format": "bare", "visibility": "public",
        "min_ram": 128, "hw_rng_model": "virtio", "os_distro": "debian",
    }
    with path.open("rb") as content:
        made = api.post("/image/v2/images", body)
        api.upload(f"/image/v2/images/{made['id']}/file", content, path.stat().st_size)
    return made["id"]


def _external_network(api: Api) -> str:
    network = api.find("/network/v2.0/networks?name=public", "networks", name="public")
    if network is None:
        body = {
            "name": "public", "router:external": True, "provider:network_type": "flat",
            "provider:physical_network": PHYSICAL_NETWORK,
        }
        network = api.post("/network/v2.0/networks", {"network": body})["network"]
    if api.find(f"/network/v2.0/subnets?network_id={network['id']}", "subnets", network_id=network["id"]) is None:
        body = {
            "name": "public-subnet", "network_id": network["id"], "ip_version": 4, "cidr": EXTERNAL_CIDR,
            "gateway_ip": EXTERNAL_GATEWAY, "enable_dhcp": False, "allocation_pools": [EXTERNAL_POOL],
        }
        api.post("/network/v2.0/subnets", {"subnet": body})
    return network["id"]


def _project(api: Api, login: Login) -> None:
    project = api.find("/identity/v3/projects?name=demo", "projects", name=login.project)
    if project is None:
        body = {"name": login.project, "description": "The first project", "domain_id": "default"}
        project = api.post("/identity/v3/projects", {"project": body})["project"]
    user = api.find("/identity/v3/users?name=demo", "users", name=login.username)
    if user is None:
        body = {"name": login.username, "password": login.password, "domain_id": "default"}
        user = api.post("/identity/v3/users", {"user": body})["user"]
    role = api.find("/identity/v3/roles?name=member", "roles", name="member")
    assert role is not None
    api.put(f"/identity/v3/projects/{project['id']}/users/{user['id']}/roles/{role['id']}")


def _private_network(api: Api, external: str) -> str:
    own = f"project_id={api.project_id}"
    network = api.find(f"/network/v2.0/networks?name=private&{own}", "networks", name="private")
    if network is None:
        network = api.post("/network/v2.0/networks", {"network": {"name": "private"}})["network"]
    subnet = api.find(f"/network/v2.0/subnets?name=private-subnet&{own}", "subnets", network_id=network["id"])
    if subnet is None:
        body = {"name": "private-subnet", "network_id": network["id"], "ip_version": 4, "cidr": PRIVATE_CIDR}
        subnet = api.post("/network/v2.0/subnets", {"subnet": body})["subnet"]
    router = api.find(f"/network/v2.0/routers?name=router&{own}", "routers", name="router")
    if router is None:
        body = {"name": "router", "external_gateway_info": {"network_id": external}}
        router = api.post("/network/v2.0/routers", {"router": body})["router"]
    ports = api.get("/network/v2.0/ports", device_id=router["id"], network_id=network["id"])["ports"]
    if not ports:
        api.put(f"/network/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    return network["id"]


def _open_ports(api: Api) -> None:
    groups = api.get("/network/v2.0/security-groups", name="default", project_id=api.project_id)["security_groups"]
    group = groups[0]
    have = {
        (rule["protocol"], rule["port_range_min"])
        for rule in group["security_group_rules"]
        if rule["direction"] == "ingress" and rule["remote_ip_prefix"] == "0.0.0.0/0"
    }
    for protocol, port in OPEN_PORTS:
        if (protocol, port) not in have:
            body = {
                "security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv4", "protocol": protocol,
                "remote_ip_prefix": "0.0.0.0/0",
            }
            if port is not None:
                body |= {"port_range_min": port, "port_range_max": port}
            api.post("/network/v2.0/security-group-rules", {"security_group_rule": body})


def _keypair(api: Api, path: Path) -> Path:
    if not path.exists():
        private = Ed25519PrivateKey.generate()
        formats = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        secrets.write_private(path, private.private_bytes(*formats))
        public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        path.with_suffix(".pub").write_bytes(public + b" demo\n")
    known = {item["keypair"]["name"] for item in api.get("/compute/v2.1/os-keypairs")["keypairs"]}
    if "demo" not in known:
        body = {"name": "demo", "public_key": path.with_suffix(".pub").read_text().strip()}
        api.post("/compute/v2.1/os-keypairs", {"keypair": body})
    return path


def _wait_host(admin: Api) -> str:
    """Wait until a compute host and its network agents report; says how the host runs guests."""
    deadline = time.monotonic() + HOST_TIMEOUT_S
    while time.monotonic() < deadline:
        hosts = admin.get("/compute/v2.1/os-hypervisors/detail")["hypervisors"]
        ready = [host for host in hosts if host["state"] == "up" and host["status"] == "enabled"]
        agents = {agent["binary"] for agent in admin.get("/network/v2.0/agents")["agents"] if agent["alive"]}
        if ready and len(agents) >= NETWORK_AGENTS:
            return f"host {ready[0]['hypervisor_hostname']} takes guests, run by {ready[0]['hypervisor_type']}"
        time.sleep(POLL_S)
    raise RuntimeError(f"no compute host reported within {HOST_TIMEOUT_S:.0f} s; see the log, and `pileus doctor`")


def _server(api: Api, image_id: str, network_id: str) -> str:
    found = api.find("/compute/v2.1/servers/detail?name=first", "servers", name="first")
    if found is not None and found["status"] != "ERROR":
        return found["id"]
    if found is not None:
        api.delete(f"/compute/v2.1/servers/{found['id']}")
    flavor = api.find("/compute/v2.1/flavors", "flavors", name="m1.nano")
    assert flavor is not None
    body = {
        "name": "first", "imageRef": image_id, "flavorRef": flavor["id"], "key_name": "demo",
        "networks": [{"uuid": network_id}],
    }
    return api.post("/compute/v2.1/servers", {"server": body})["server"]["id"]


def _wait_active(api: Api, server_id: str, say: _Progress) -> None:
    deadline, last = time.monotonic() + BOOT_TIMEOUT_S, ""
    while time.monotonic() < deadline:
        server = api.get(f"/compute/v2.1/servers/{server_id}")["server"]
        state = f"{server['status']} ({server.get('OS-EXT-STS:task_state')})"
        if server["status"] == "SHUTOFF":
            api.post(f"/compute/v2.1/servers/{server_id}/action", {"os-start": None})
        elif server["status"] == "ERROR":
            raise RuntimeError(f"the first server failed: {server.get('fault', {}).get('message', 'no reason given')}")
        elif server["status"] == "ACTIVE":
            return
        if state != last:
            say(f"server first is {state}")
            last = state
        time.sleep(POLL_S)
    raise RuntimeError(f"the first server was not ACTIVE within {BOOT_TIMEOUT_S:.0f} s")


def _floating_ip(api: Api, server_id: str, external: str) -> str:
    port = api.get("/network/v2.0/ports", device_id=server_id)["ports"][0]
    known: list[dict[str, Any]] = api.get("/network/v2.0/floatingips", port_id=port["id"])["floatingips"]
    if known:
        return known[0]["floating_ip_address"]
    body = {"floating_network_id": external, "port_id": port["id"]}
    made = api.post("/network/v2.0/floatingips", {"floatingip": body})
    return made["floatingip"]["floating_ip_address"]


def _ssh_command(key: Path, address: str) -> list[str]:
    # The host key is new with each guest at the same address, so it is not remembered.
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    return ["ssh", "-i", str(key), *options, f"root@{address}"]


def _wait_ssh(command: list[str]) -> None:
    deadline = time.monotonic() + SSH_TIMEOUT_S
    probe = [command[0], "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", *command[1:], "hostname"]
    while time.monotonic() < deadline:
        result = subprocess.run(probe, capture_output=True, text=True, timeout=60, env=dict(os.environ, LC_ALL="C"))
        if result.returncode == 0:
            return
        time.sleep(POLL_S)
    raise RuntimeError(f"the guest's ssh did not answer within {SSH_TIMEOUT_S:.0f} s: {result.stderr.strip()}")
