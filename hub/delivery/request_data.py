"""Bodies as plain values, strictly: JSON and MessagePack in, and back out again.

Both give the same kinds of value (str, int, float, bool, None, list, dict with text keys; bytes from
MessagePack only) under the same bounds (delivery-guarantees H, decisions L7): UTF-8, finite numbers, integers of 64
bits, at most 32 levels, no lone surrogates, no extension types. What breaks one raises BadRequest.
"""

from __future__ import annotations

import enum
import json
import math
import re
from typing import Any

import msgpack
import orjson

from hub.delivery.request import header
from hub.model.errors import BadRequest, UnsupportedMedia

MOST_LEVELS = 32

_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_LEAST_INT, _MOST_INT = -(1 << 63), (1 << 64) - 1
_MSGPACK_TYPES = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")


class Form(enum.Enum):
    """How a body is written; the value is its media type."""

    JSON = "application/json"
    MSGPACK = "application/msgpack"


def decode(body: bytes, form: Form) -> Any:
    """The value of a body in one of the forms. Raises BadRequest."""
    return decode_msgpack(body) if form is Form.MSGPACK else decode_json(body)


def encode(value: Any, form: Form) -> bytes:
    """A value as bytes; for JSON it must hold no bytes."""
    return _packed(value) if form is Form.MSGPACK else orjson.dumps(value)


def decode_json(body: bytes) -> Any:
    """The value of a JSON text; the last of duplicate names wins. Raises BadRequest (`bad-json`)."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("the body is not JSON", code="bad-json") from None
    if body.count(b"[") + body.count(b"{") > MOST_LEVELS and _levels(body) > MOST_LEVELS:
        raise BadRequest(f"the body has more than {MOST_LEVELS} levels", code="bad-json")
    if _LONG_NUMBER.search(body):
        # orjson turns an integer that does not fit into a float, silently: only here it is looked at again.
        json.loads(body, parse_int=_int_of_64_bits)
    return value


def decode_msgpack(body: bytes) -> Any:
    """The value of one MessagePack object. Raises BadRequest (`bad-msgpack`)."""
    try:
        value = msgpack.unpackb(body)
    except ValueError:
        raise BadRequest("the body is not one MessagePack object", code="bad-msgpack") from None
    _judge(value)
    return value


def form_of_body(scope: Any) -> Form:
    """The form that Content-Type says; JSON when it says nothing. Raises UnsupportedMedia."""
    kind, _, rest = header(scope, b"content-type").partition(";")
    kind = kind.strip().lower()
    if kind in _MSGPACK_TYPES:
        return Form.MSGPACK
    if kind not in ("", "application/json"):
        raise UnsupportedMedia("the body is taken as application/json or application/msgpack")
    charset = rest.strip().lower().partition("charset=")[2].strip('"')
    if charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMedia("JSON is taken in UTF-8 only")
    return Form.JSON


def form_wanted(scope: Any) -> Form:
    """The form of the answer: MessagePack if Accept names it, or if the body came so and Accept names nothing."""
    accepted = header(scope, b"accept").lower()
    for part in accepted.split(","):
        kind, _, rest = part.partition(";")
        if kind.strip() in _MSGPACK_TYPES and rest.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            return Form.MSGPACK
    if accepted.strip() in ("", "*/*"):
        kind = header(scope, b"content-type").partition(";")[0].strip().lower()
        return Form.MSGPACK if kind in _MSGPACK_TYPES else Form.JSON
    return Form.JSON


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _levels(body: bytes) -> int:
    deepest = level = 0
    for found in _STRUCTURE.finditer(body):
        match found[0]:
            case b"[" | b"{":
                level += 1
                deepest = max(deepest, level)
            case b"]" | b"}":
                level -= 1
    return deepest


def _int_of_64_bits(text: str) -> int:
    # Compared by length first: Python refuses to turn very long digits into a number at all.
    if len(text) > 20 or not _LEAST_INT <= (number := int(text)) <= _MOST_INT:
        raise BadRequest("the body has an integer of more than 64 bits", code="bad-json")
    return number


def _judge(value: Any) -> None:
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                if not all(isinstance(name, str) for name in item):
                    raise BadRequest("the names of a map are text", code="bad-msgpack")
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, float):
                if not math.isfinite(item):
                    raise BadRequest("numbers are finite", code="bad-msgpack")
            elif item is not None and not isinstance(item, str | int | bytes):
                raise BadRequest("extension types are not taken", code="bad-msgpack")
        if not below:
            return
        level = below
    raise BadRequest(f"the body has more than {MOST_LEVELS} levels", code="bad-msgpack")
