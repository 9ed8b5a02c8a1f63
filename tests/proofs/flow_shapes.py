"""The shape of a flow: what a flow in flight, written by other code, depends on. And what is wrong with changing it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import inspect

from pileus.kernel.flows import Flow


class Shape(msgspec.Struct, frozen=True):
    """steps: their names in order. data: `name: type` of each field, `name?: type` where it has a default."""

    steps: list[str]
    data: dict[str, str]


def shape_of(flow: Flow) -> Shape:
    """The shape that this code has."""
    struct = inspect.type_info(flow.data)
    assert isinstance(struct, inspect.StructType)
    return Shape([step.name for step in flow.steps], _fields(struct))


def key_of(service: str, flow: Flow) -> str:
    """How the table calls it."""
    return f"{service}.{flow.name}.v{flow.version}"


def complaints(recorded: Mapping[str, Shape], present: Mapping[str, Shape]) -> list[str]:
    """What whoever changed a flow must do, a sentence each."""
    found = []
    for key in present.keys() - recorded.keys():
        found.append(f"{key} is new: record it in the table:\n{toml_of(key, present[key])}")
    for key in recorded.keys() - present.keys():
        found.append(
            f"{key} is gone from its service's flows, but one may still be in flight when an upgrade begins: keep that "
            "version registered; once no supported upgrade can meet one, take it out of the table"
        )
    for key in sorted(recorded.keys() & present.keys()):
        found += _changes(key, recorded[key], present[key])
    return found


def toml_of(key: str, shape: Shape) -> str:
    """Lines for the table."""
    steps = ", ".join(json.dumps(step) for step in shape.steps)
    fields = [f"{json.dumps(name)} = {json.dumps(kind)}" for name, kind in shape.data.items()]
    return "\n".join([f'["{key}"]', f"steps = [{steps}]", f'["{key}".data]', *fields]) + "\n"


def _changes(key: str, old: Shape, new: Shape) -> Iterable[str]:
    raise_it = "raise the flow's version, and keep the old one registered beside it"
    if old.steps != new.steps:
        yield f"{key}: its steps were {old.steps} and are {new.steps}: one in flight would go on at another: {raise_it}"
    for name, kind in old.data.items():
        if name not in new.data:
            yield f"{key}: the field {name!r} is gone from its data: {raise_it}"
        elif new.data[name] != kind:
            yield f"{key}: the field {name!r} was {kind} and is {new.data[name]}: {raise_it}"
    for name in new.data.keys() - old.data.keys():
        if name.endswith("?"):
            yield f"{key}: the new field {name!r} has a default, as it must: record it in the table: {new.data[name]}"
        else:
            yield f"{key}: the new field {name!r} has no default, and data in flight has no such field: give it one"


def _fields(struct: inspect.StructType) -> dict[str, str]:
    return {f.encode_name + ("" if f.required else "?"): _text(f.type) for f in struct.fields}


def _text(kind: Any) -> str:
    match kind:
        case inspect.StructType():
            return "{" + ", ".join(f"{name}: {text}" for name, text in _fields(kind).items()) + "}"
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            return f"[{_text(kind.item_type)}]"
        case inspect.TupleType():
            return "[" + ", ".join(_text(item) for item in kind.item_types) + "]"
        case inspect.DictType():
            return f"{{{_text(kind.key_type)}: {_text(kind.value_type)}}}"
        case inspect.UnionType():
            return " | ".join(sorted(_text(member) for member in kind.types))
        case inspect.LiteralType():
            return " | ".join(sorted(repr(value) for value in kind.values))
        case _:
            return type(kind).__name__.removesuffix("Type").lower()
