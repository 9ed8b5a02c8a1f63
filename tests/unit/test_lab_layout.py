"""Layouts of labs: what is shipped is right, and what is wrong is said."""

from __future__ import annotations

import tomllib

import pytest

from pileus.kernel.config import ConfigError
from pileus.lab import addresses, configure, layout

HOST = '[hosts.one]\nnics = ["management"]\n'
PROCESS = '[hosts.one.processes.p]\nroles = ["compute-conductor"]\n'


def test_the_shipped_layouts_name_roles_that_exist() -> None:
    found = layout.shipped()
    assert {"all-in-one", "three-nodes", "ha"} <= found.keys()
    for each in found.values():
        configure.refuse_unknown_roles(each)


def test_beside_a_whole_cloud_there_may_be_machines_that_it_can_grow_onto() -> None:
    found = layout.parse('about = "x"\n' + HOST + '[hosts.two]\nnics = ["management"]\ncloud = false\n', "file.toml")
    assert found.with_role("compute-api") == ("one",)


def test_no_two_hosts_share_an_address() -> None:
    for each in layout.shipped().values():
        own = [addresses.of_host(each, name, nic) for name, plan in each.hosts.items() for nic in plan.nics]
        taken = [addresses.numbered(addresses.home(each), number) for number in (1, addresses.ADMIN, addresses.VIRTUAL)]
        assert len({*own, *taken}) == len(own) + len(taken)


@pytest.mark.parametrize(("text", "sentence"), [
    ("", "required field `about`"),
    ('about = "x"\nhosts = {}\n', "1 to 40 hosts"),
    (HOST.replace("one", "Host_1"), "host Host_1: a name is a letter"),
    (HOST.replace("one", "internet"), "none of internet"),
    ('[hosts.one]\nnics = ["tunnel"]\n', "first card"),
    ('[hosts.one]\nnics = ["management", "management"]\n', "two cards on one network"),
    (HOST + 'engines = ["postgresql"]\n', "Invalid enum value 'postgresql'"),
    (HOST + 'engines = ["mariadb", "galera"]\n', "not both"),
    (HOST + '[hosts.two]\nnics = ["management"]\n', "so two can only be with cloud = false"),
    (HOST + "cloud = false\n" + '[hosts.two]\nnics = ["management"]\n', "host two is a whole cloud, so it"),
    (HOST + PROCESS, "need rabbitmq"),
    (HOST + 'engines = ["rabbitmq"]\n' + PROCESS, "need mariadb or galera"),
    (HOST + 'engines = ["rabbitmq", "galera"]\n' + PROCESS, "galera needs 3 members, not 1"),
    (HOST + 'engines = ["rabbitmq", "mariadb", "haproxy"]\n' + PROCESS, "belong together"),
    (HOST + PROCESS + "port = 8901\n", "a port belongs to a process with an API"),
    (HOST + PROCESS.replace("compute-conductor", "compute-api"), "a port belongs to a process with an API"),
    (HOST + "cable = 5\n", "unknown field `cable`"),
])
def test_what_is_wrong_with_a_layout_is_said(text: str, sentence: str) -> None:
    if text and "about" not in text:
        text = 'about = "x"\n' + text
    with pytest.raises(ConfigError) as error:
        layout.parse(text, "file.toml")
    assert str(error.value).startswith("layout file.toml: ")
    assert sentence in str(error.value)


def test_a_role_that_does_not_exist_is_named() -> None:
    text = 'about = "x"\n' + HOST + 'engines = ["rabbitmq", "mariadb"]\n' + PROCESS.replace("conductor", "tubist")
    with pytest.raises(ConfigError, match="host one: there is no role 'compute-tubist'"):
        configure.refuse_unknown_roles(layout.parse(text, "file.toml"))


def test_a_host_keeps_what_the_lab_says_beside_its_own_tables() -> None:
    text = 'about = "x"\n' + HOST + 'tables = { compute = { agent = { hypervisor = "fake" } }, node = { port = 1 } }\n'
    said = tomllib.loads(configure.pileus_toml(layout.parse(text, "x"), "one", cloud="x", engines=configure.Engines()))
    assert said["compute"]["agent"] == {"hypervisor": "fake", "host_ip": "10.20.0.11"}
    assert said["node"] | {"port": 1, "host": "one"} == said["node"]
