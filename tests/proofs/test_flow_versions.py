"""Nobody changes a flow under those in flight by mistake: what the code has is compared with a table."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from pileus.kernel.flows import Flow, Step
from pileus.services import discover
from tests.proofs.flow_shapes import Shape, complaints, key_of, shape_of

TABLE = Path(__file__).with_name("flow_versions.toml")


def test_every_flow_is_as_the_table_says() -> None:
    recorded = msgspec.convert(tomllib.loads(TABLE.read_text()), dict[str, Shape])
    present = {key_of(service.type, flow): shape_of(flow) for service in discover() for flow in service.flows}
    wrong = complaints(recorded, present)
    assert not wrong, f"{TABLE.name}:\n" + "\n".join(wrong)


class Part(msgspec.Struct):
    port: str


class Data(msgspec.Struct):
    id: str
    parts: tuple[Part, ...] = ()


class WithMore(Data):
    note: str = ""


class WithDemand(msgspec.Struct, kw_only=True):
    id: str
    parts: tuple[Part, ...] = ()
    note: str


class WithOtherType(msgspec.Struct):
    id: int
    parts: tuple[Part, ...] = ()


class WithLess(msgspec.Struct):
    id: str


async def nothing(_run: object) -> None:
    return None


def flow(data: type, *steps: str) -> Flow:
    return Flow(
        name="make", data=data, steps=tuple(Step(name=name, do=nothing) for name in steps), on_failed=lambda *_: None
    )


OLD = shape_of(flow(Data, "one", "two"))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (flow(Data, "two", "one"), "raise the flow's version"),
        (flow(Data, "one"), "raise the flow's version"),
        (flow(WithOtherType, "one", "two"), "'id' was str and is int: raise the flow's version"),
        (flow(WithLess, "one", "two"), "'parts?' is gone from its data: raise the flow's version"),
        (flow(WithDemand, "one", "two"), "'note' has no default"),
        (flow(WithMore, "one", "two"), "record it in the table"),
    ],
)
def test_a_change_is_noticed_and_explained(changed: Flow, says: str) -> None:
    [sentence] = complaints({"x.make.v1": OLD}, {"x.make.v1": shape_of(changed)})
    assert says in sentence


def test_new_and_missing_versions_are_noticed() -> None:
    assert complaints({"x.make.v1": OLD}, {"x.make.v1": OLD}) == []
    [new] = complaints({"x.make.v1": OLD}, {"x.make.v1": OLD, "x.make.v2": OLD})
    assert msgspec.convert(tomllib.loads(new.partition(":\n")[2]), dict[str, Shape]) == {"x.make.v2": OLD}
    assert "keep that version registered" in complaints({"x.make.v1": OLD, "x.make.v2": OLD}, {"x.make.v2": OLD})[0]
    assert OLD.data == {"id": "str", "parts?": "[{port: str}]"}
