"""What a caller writes as SenML, in the formats of devices that have never heard of it: text, opaque and TLV.

The way back of translate.py, and pure too. A single value goes as text or opaque first: it is read alike whatever type
the device gives it, and a device that knows nothing but text takes TLV for a text.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from adapters.lwm2m import content, senml, tlv
from adapters.lwm2m.schema import Type, type_of
from adapters.lwm2m.senml import Pointer, Reading, Value
from adapters.lwm2m.tlv import Entry, Level
from adapters.lwm2m.translate import Path, as_text

Form = tuple[int, bytes]
"""A content format with a payload of it."""

_MAX_ID = 0xFFFF
_READERS = {content.SENML_JSON: senml.from_json, content.SENML_CBOR: senml.from_cbor}


def is_senml(number: int | None) -> bool:
    """Whether it is a format that `other_forms` reads."""
    return number in _READERS


def other_forms(path: Path, number: int, payload: bytes) -> list[Form]:
    """What says the same to a device without SenML, the likeliest first. Raises ValueError where there is nothing."""
    return forms(path, _READERS[number](payload))


def forms(path: Path, values: Sequence[Reading]) -> list[Form]:
    """The forms of some values for a write to `path`. Raises ValueError for a record outside the path or without a
    value, for one that does not have the type of its resource, and for a path that is not made of numbers."""
    if not values:
        raise ValueError("there is nothing to write")
    base = _ids(path)
    found: dict[tuple[int, ...], Value | Pointer] = {}
    for reading in values:
        ids = _ids(tuple(reading.name.strip("/").split("/")))
        if not reading.name.startswith("/") or ids[: len(base)] != base or len(ids) not in (3, 4):
            raise ValueError(f"{reading.name} is no resource of /{'/'.join(path)}")
        if ids in found:
            raise ValueError(f"{reading.name} has two values")
        found[ids] = _typed(reading.name, type_of(ids[0], ids[2]), reading.value)
    made: list[Form] = []
    if list(found) == [base]:
        raw, media = as_text(found[base])
        made.append((content.OPAQUE if media == "application/octet-stream" else content.TEXT, raw))
    made.append((content.TLV, tlv.encode(_entries(found, len(base)))))
    return made


def _ids(path: Path) -> tuple[int, ...]:
    ids = tuple(int(piece) if piece.isascii() and piece.isdecimal() else -1 for piece in path)
    if not ids or not all(0 <= id <= _MAX_ID for id in ids):
        raise ValueError(f"/{'/'.join(path)[:100]} is not made of numbers")
    return ids


def _entries(values: dict[tuple[int, ...], Value | Pointer], depth: int) -> list[Entry]:
    """The entries below a path of some depth, in the order in which they were first named."""
    if depth == 4:
        return [Entry(Level.RESOURCE_INSTANCE, ids[3], _raw(value)) for ids, value in values.items()]
    at = 1 if depth == 1 else 2
    groups: dict[int, dict[tuple[int, ...], Value | Pointer]] = {}
    for ids, value in values.items():
        groups.setdefault(ids[at], {})[ids] = value
    if at == 1:
        return [Entry(Level.OBJECT_INSTANCE, id, entries=tuple(_entries(of, 2))) for id, of in groups.items()]
    return [_resource(id, of) for id, of in groups.items()]


def _resource(id: int, values: dict[tuple[int, ...], Value | Pointer]) -> Entry:
    depths = {len(ids) for ids in values}
    if depths == {3}:
        (value,) = values.values()
        return Entry(Level.RESOURCE, id, _raw(value))
    if depths == {4}:
        return Entry(Level.MULTIPLE, id, entries=tuple(_entries(values, 4)))
    raise ValueError(f"resource {id} has one value and many")


def _typed(name: str, kind: Type | None, value: Value | Pointer) -> Value | Pointer:
    """The value as its resource has it. What nobody knows the type of stays as it was written."""
    if value is None:
        raise ValueError(f"{name} has no value")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case Type.INTEGER | Type.TIME if number and float(value) == int(value):  # type: ignore[arg-type]
            return int(value)  # type: ignore[arg-type]
        case Type.FLOAT if number:
            return float(value)  # type: ignore[arg-type]
        case Type.BOOLEAN if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        case Type.STRING if isinstance(value, str):
            return value
        case Type.OPAQUE if isinstance(value, bytes):
            return value
        case Type.LINK if isinstance(value, Pointer):
            return value
        case None:
            return value
    raise ValueError(f"{name} is of type {kind.value}")


def _raw(value: Value | Pointer) -> bytes:
    """A value in TLV."""
    if isinstance(value, bool):
        return b"\1" if value else b"\0"
    if isinstance(value, int):
        for size in (1, 2, 4, 8):
            if -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1:
                return value.to_bytes(size, "big", signed=True)
        raise ValueError("a number has at most 64 bits")
    if isinstance(value, float):
        return struct.pack(">d", value)
    if isinstance(value, Pointer):
        pair = [int(half) if half.isascii() and half.isdecimal() else -1 for half in value.text.split(":")]
        if len(pair) != 2 or not all(0 <= half <= _MAX_ID for half in pair):
            raise ValueError("a link is two numbers, object:instance")
        return struct.pack(">HH", *pair)
    if isinstance(value, str):
        return value.encode()
    assert isinstance(value, bytes)
    return value
