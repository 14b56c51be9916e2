"""A device's answer as readings, whatever format it chose, and those readings as SenML JSON.

So `accept: application/senml+json` works for a device that speaks only TLV or text. Pure; the raw bytes are there for
everybody who does not ask for this.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from math import isfinite
from typing import Any

from adapters.lwm2m import content, senml, tlv
from adapters.lwm2m.schema import Type, type_of
from adapters.lwm2m.senml import Pointer, Reading, Value

MOST_TOLD = 512 * 1024
# What a record takes beside its name and its value.
_FRAME = 32

Path = tuple[str, ...]


def to_senml_json(path: Path, number: int | None, payload: bytes, most: int = MOST_TOLD) -> bytes:
    """An answer of any known format as SenML JSON with full names. Raises ValueError where that cannot be done, and
    where it would be of more than about `most` bytes: full names make a few bytes many."""
    found = readings(path, number, payload)
    if sum(len(reading.name) + _FRAME + _length(reading.value) for reading in found) > most:
        raise ValueError("too long with full names")
    return senml.to_json(found)


def _length(value: Value | Pointer) -> int:
    return len(value) if isinstance(value, str | bytes) else 0


def readings(path: Path, number: int | None, payload: bytes) -> list[Reading]:
    """The values of an answer to a read of `path`, in the order of the device. Raises ValueError for a format
    without values and for a payload that is not of its format."""
    number = content.plain_number(number)
    if number == content.SENML_JSON:
        return senml.from_json(payload)
    if number == content.SENML_CBOR:
        return senml.from_cbor(payload)
    if number == content.TLV:
        return list(_of_tlv(path, tlv.decode(payload)))
    if number == content.JSON:
        return _of_old_json(path, payload)
    name = "/" + "/".join(path)
    if number == content.OPAQUE:
        return [Reading(name, payload)]
    if number == content.CBOR:
        return [Reading(name, _of_cbor(senml.cbor_loads(payload)))]
    if number in (None, content.TEXT):
        return [Reading(name, _of_text(_type(path), payload))]
    raise ValueError(f"{content.media_type(number)} holds no values")


def as_text(value: Value | Pointer) -> tuple[bytes, str]:
    """One value as a payload with its media type."""
    if isinstance(value, bytes):
        return value, "application/octet-stream"
    if isinstance(value, bool):
        return (b"1" if value else b"0"), content.TEXT_TYPE
    if isinstance(value, Pointer):
        return value.text.encode(), content.TEXT_TYPE
    return ("" if value is None else str(value)).encode(), content.TEXT_TYPE


def _of_tlv(path: Path, entries: tuple[tlv.Entry, ...]) -> Iterator[Reading]:
    for entry in entries:
        id = str(entry.id)
        if entry.level is tlv.Level.OBJECT_INSTANCE:
            # Some devices wrap the answer to a read of one instance in that instance again.
            yield from _of_tlv((*path[:1], id), entry.entries)
        elif entry.level is tlv.Level.RESOURCE:
            yield _reading((*_instance(path), id), entry.value)
        elif entry.level is tlv.Level.MULTIPLE:
            yield from _of_tlv((*_instance(path), id), entry.entries)
        else:
            yield _reading((*path[:3], id), entry.value)


def _instance(path: Path) -> Path:
    """The instance that resources of an answer belong to; an object that has but one may leave it out."""
    return path[:2] if len(path) >= 2 else (*path, "0")


def _reading(path: Path, raw: bytes) -> Reading:
    return Reading(senml.named("/" + "/".join(path)), _of_raw(_type(path), raw))


def _type(path: Path) -> Type | None:
    if len(path) < 3 or not (path[0].isdecimal() and path[2].isdecimal()):
        return None
    return type_of(int(path[0]), int(path[2]))


def _of_raw(kind: Type | None, raw: bytes) -> Value | Pointer:
    """A value of TLV. A type that does not fit the length is not believed."""
    size = len(raw)
    if kind is Type.OPAQUE:
        return raw
    if kind is Type.FLOAT and size in (4, 8):
        (value,) = struct.unpack(">f" if size == 4 else ">d", raw)
        return float(value) if isfinite(value) else str(value)
    if kind in (Type.INTEGER, Type.TIME) and size in (1, 2, 4, 8):
        return int.from_bytes(raw, "big", signed=True)
    if kind is Type.BOOLEAN and raw in (b"\0", b"\1"):
        return raw == b"\1"
    if kind is Type.LINK and size == 4:
        return Pointer(f"{int.from_bytes(raw[:2], 'big')}:{int.from_bytes(raw[2:], 'big')}")
    text = _printable(raw)
    if text is not None:
        return text
    if size in (1, 2, 4, 8) and kind is None:
        return int.from_bytes(raw, "big", signed=True)
    return raw


def _of_text(kind: Type | None, raw: bytes) -> Value | Pointer:
    text = raw.decode("utf-8", "strict") if _printable(raw) is not None else None
    if text is None:
        return raw
    try:
        if kind is Type.FLOAT:
            value = float(text)
            return value if isfinite(value) else text
        if kind in (Type.INTEGER, Type.TIME):
            return int(text)
        if kind is Type.OPAQUE:
            # Without a format of their own, devices print opaque values as base64 text.
            return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return text
    if kind is Type.BOOLEAN and text in ("0", "1", "true", "false"):
        return text in ("1", "true")
    return Pointer(text) if kind is Type.LINK else text


def _of_cbor(value: Any) -> Value | Pointer:
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise ValueError("not a single value")


def _of_old_json(path: Path, payload: bytes) -> list[Reading]:
    """The JSON of LwM2M 1.0: `{"bn": "/3/0/", "e": [{"n": "0", "sv": "text"}]}`."""
    try:
        document = json.loads(payload)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError("no JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("e"), list):
        raise ValueError("no entries")
    base = document.get("bn", "/" + "/".join(path))
    found = []
    for entry in document["e"]:
        if not isinstance(entry, dict) or not isinstance(base, str) or not isinstance(entry.get("n", ""), str):
            raise ValueError("an entry has a name")
        name = entry.get("n", "")
        whole = f"{base.rstrip('/')}/{name.lstrip('/')}" if name else base
        value = next((entry[key] for key in ("v", "sv", "bv") if key in entry), None)
        if "ov" in entry:
            value = Pointer(str(entry["ov"]))
        elif not (value is None or isinstance(value, bool | int | float | str)):
            raise ValueError("an entry has one value")
        found.append(Reading(senml.named(whole), value))
    return found


def _printable(raw: bytes) -> str | None:
    """The text that bytes are, None where they are not: control characters other than white space make them not."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return text if all(char >= " " or char in "\t\n\r" for char in text) and "\x7f" not in text else None
