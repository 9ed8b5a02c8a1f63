"""Bodies that have the shape a route expects, with one hostile value in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 2**31, 2**63, 2**64, 10**400, -(2**63) - 1, 1.5, 1e308, "", "\0", "a\r\nX-Injected: yes",
    "\u202e\U0001f40d", "x" * 70_000, "../../../../etc/passwd", "<a>&]]>", "9" * 5_000, "--5", "٣", [], {}, [None],
    {"": None}, [[[[[]]]]], {"a": {"b": {"c": []}}},
)  # fmt: skip
DEPTH = 4
NOBODY = "00000000-0000-4000-8000-000000000000"


def usual(kind: inspect.Type, depth: int = 0) -> Any:
    """A harmless value of a type."""
    if depth > DEPTH:
        return None
    if isinstance(kind, inspect.Metadata):
        return usual(kind.type, depth)
    if isinstance(kind, inspect.UnionType):
        known = [one for one in kind.types if not isinstance(one, inspect.NoneType)]
        return usual(known[0], depth) if known else None
    if isinstance(kind, inspect.StructType):
        return {f.encode_name: usual(f.type, depth + 1) for f in kind.fields if f.required}
    if isinstance(kind, inspect.StrType):
        return NOBODY
    if isinstance(kind, (inspect.IntType, inspect.FloatType)):
        return 1
    if isinstance(kind, inspect.BoolType):
        return True
    if isinstance(kind, (inspect.ListType, inspect.SetType, inspect.VarTupleType)):
        return [usual(kind.item_type, depth + 1)]
    if isinstance(kind, inspect.DictType):
        return {"a": usual(kind.value_type, depth + 1)}
    if isinstance(kind, inspect.LiteralType):
        return kind.values[0]
    return {} if isinstance(kind, inspect.AnyType) else "x"


def _structs(kind: inspect.Type) -> Iterator[inspect.StructType]:
    if isinstance(kind, inspect.StructType):
        yield kind
    elif isinstance(kind, inspect.Metadata):
        yield from _structs(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _structs(one)


def hostile_bodies(kind: Any, envelope: str | None, action: str | None) -> Iterator[Any]:
    """For every field of the struct, each hostile value in an otherwise usual body."""
    key = envelope or action
    for struct in _structs(inspect.type_info(kind)):
        good = usual(struct)
        for field in struct.fields:
            for value in (*HOSTILE, {"x": "\0" * 9}, [usual(field.type)] * 300):
                body = {**good, field.encode_name: value}
                yield {key: body} if key else body


def encoded(body: Any) -> bytes:
    """JSON, also of numbers that msgspec does not write."""
    try:
        return msgspec.json.encode(body)
    except (OverflowError, ValueError, RecursionError):
        return json.dumps(body).encode()
