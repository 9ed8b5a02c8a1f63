"""A configuration as text."""

from __future__ import annotations

import tomllib

from pileus.kernel.config.writer import to_toml


def test_a_configuration_is_read_back_as_it_was_written() -> None:
    tables = {
        "node": {"host": "h", "port": 8900, "usual_ports": True}, "empty": {}, "a b": {'"': "\\\n\x7f\x00é", "": ""},
        "network": {"ratio": 1.5, "ranges": [[1, 2], [3, 4]], "deep": {"er": {"x": [True, "y"]}, "none": {}}},
        "list": {"of": [{"a": 1}]},
    }
    assert tomllib.loads(to_toml(tables)) == tables
