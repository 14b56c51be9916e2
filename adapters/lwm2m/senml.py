"""SenML (RFC 8428) as LwM2M uses it, in JSON and CBOR: records as values, bytes in and out.

Base names and base times are resolved on the way in and not used on the way out. CBOR is read with a library that
comes with the extra `lwm2m`; without it only the CBOR forms are missing.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

MOST_RECORDS = 10_000
MAX_DEPTH = 8
MOST_NAME = 255
"""The letters of a name with its base: what resources have is much shorter."""
# What is less counts from now (RFC 8428, 4.5.3).
_ABSOLUTE = 1 << 28

Value = bool | int | float | str | bytes | None

# label -> name in JSON, of the members that are read
_LABELS: Mapping[Any, str] = {
    -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs", -1: "bver",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
_NUMBERS = {name: label for label, name in _LABELS.items()}


@dataclass(frozen=True, slots=True)
class Pointer:
    """An object link (`vlo`), as `object:instance`."""

    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One record with its base resolved. `time` is as RFC 8428, 4.5.3 has it: absolute, or relative to now when it
    is below 2**28; None when not said."""

    name: str
    value: Value | Pointer = None
    time: float | None = None

    def moment(self, now: datetime) -> datetime | None:
        """The time that it was given, None where it was given none that a calendar has."""
        if self.time is None:
            return None
        try:
            if self.time >= _ABSOLUTE:
                return datetime.fromtimestamp(self.time, UTC)
            return now.astimezone(UTC) + timedelta(seconds=self.time)
        except (ValueError, OverflowError, OSError):
            return None


def named(name: str) -> str:
    """A whole name. Raises ValueError for one that is too long: a short base makes many long names."""
    if len(name) > MOST_NAME:
        raise ValueError("a name is too long")
    return name


def from_json(data: bytes) -> list[Reading]:
    """The readings of a JSON document. Raises ValueError."""
    try:
        pack = json.loads(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError("no JSON") from error
    return _resolve(pack, _from_base64)


def from_cbor(data: bytes) -> list[Reading]:
    """The readings of a CBOR document. Raises ValueError, also when the library is not installed."""
    pack = cbor_loads(data)
    if not isinstance(pack, list):
        raise ValueError("a pack is an array")
    named = [
        {(_LABELS.get(key, key) if isinstance(key, int) else key): value for key, value in record.items()}
        if isinstance(record, Mapping)
        else record
        for record in pack
    ]
    return _resolve(named, _as_bytes)


def cbor_loads(data: bytes) -> Any:
    """One CBOR item. Raises ValueError for anything else, also when the library is not installed."""
    try:
        import cbor2
    except ImportError:
        raise ValueError("CBOR is not installed (extra lwm2m)") from None
    try:
        return cbor2.loads(data, max_depth=MAX_DEPTH)
    except (cbor2.CBORDecodeError, RecursionError, OverflowError, MemoryError, TypeError) as error:
        raise ValueError("no CBOR") from error


def cbor_dumps(value: Any) -> bytes:
    """A value as CBOR. Raises ValueError when the library is not installed."""
    try:
        import cbor2
    except ImportError:
        raise ValueError("CBOR is not installed (extra lwm2m)") from None
    return cbor2.dumps(value)


def to_json(readings: Iterable[Reading]) -> bytes:
    """A pack in JSON; bytes go as base64url without padding."""
    pack = [_record(reading, lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) for reading in readings]
    return json.dumps(pack, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def to_cbor(readings: Iterable[Reading]) -> bytes:
    """A pack in CBOR. Raises ValueError when the library is not installed."""
    records = [_record(reading, bytes) for reading in readings]
    return cbor_dumps([{_NUMBERS.get(name, name): value for name, value in record.items()} for record in records])


def _record(reading: Reading, opaque: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"n": reading.name}
    value = reading.value
    if isinstance(value, bool):
        record["vb"] = value
    elif isinstance(value, int | float):
        record["v"] = value
    elif isinstance(value, str):
        record["vs"] = value
    elif isinstance(value, bytes):
        record["vd"] = opaque(value)
    elif isinstance(value, Pointer):
        record["vlo"] = value.text
    if reading.time is not None:
        record["t"] = reading.time
    return record


def _resolve(pack: Any, opaque: Any) -> list[Reading]:
    if not isinstance(pack, list) or len(pack) > MOST_RECORDS:
        raise ValueError("a pack is an array of records")
    base, base_time = "", None
    readings: list[Reading] = []
    for record in pack:
        if not isinstance(record, Mapping):
            raise ValueError("a record is an object")
        base = _text(record, "bn", base)
        base_time = _time(record, "bt", base_time)
        own = _time(record, "t", None)
        name = named(base + _text(record, "n", ""))
        values = [key for key in ("v", "vs", "vb", "vd", "vlo") if key in record]
        if not values and "n" not in record:
            continue  # a record that only sets a base
        if len(values) > 1 or not name:
            raise ValueError("a record has a name and one value")
        value = _value(record, values[0], opaque) if values else None
        time = base_time if own is None else _bounded(own + (base_time or 0))
        readings.append(Reading(name, value, time))
    return readings


def _value(record: Mapping[Any, Any], key: str, opaque: Any) -> Value | Pointer:
    value = record[key]
    if key == "v" and isinstance(value, int | float) and not isinstance(value, bool):
        return _bounded(value)
    if key == "vs" and isinstance(value, str):
        return value
    if key == "vb" and isinstance(value, bool):
        return value
    if key == "vlo" and isinstance(value, str):
        return Pointer(value)
    if key == "vd":
        decoded: bytes = opaque(value)
        return decoded
    raise ValueError(f"{key} has another type")


def _text(record: Mapping[Any, Any], key: str, default: str) -> str:
    value = record.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"{key} is text")
    return value


def _time(record: Mapping[Any, Any], key: str, default: float | None) -> float | None:
    value = record.get(key, default)
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise ValueError(f"{key} is a number")
    return None if value is None else _bounded(value)


def _bounded(value: int | float) -> int | float:
    """A number that everybody can hold: finite, an integer of 64 bits."""
    if not (isfinite(value) if isinstance(value, float) else -(1 << 63) <= value < 1 << 64):
        raise ValueError("a number is finite, an integer has 64 bits")
    return value


def _from_base64(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("vd is text")
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("vd is base64url") from error


def _as_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("vd is bytes")
    return value
