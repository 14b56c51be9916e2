"""Bodies as plain values, strictly: JSON and MessagePack in, and back out again.

Both give the same kinds of value (str, int, float, bool, None, list, dict with text keys; bytes from
MessagePack only) under the same bounds (delivery-guarantees H, decisions L7): UTF-8, finite numbers, integers of 64
bits, at most 32 levels, at most 50,000 lists and objects, no lone surrogates, no extension types. What breaks one
raises BadRequest. A body is judged on the event loop, so no body may be dear: the looks at JSON are whole-body
operations on bytes, never a step of Python per byte or per value; MessagePack, where a value may be one byte, has at
most 100,000 of them.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgpack
import orjson

from hub.delivery.request import header
from hub.model.errors import BadRequest, UnsupportedMedia

MOST_LEVELS = 32
MOST_CONTAINERS = 50_000
MOST_PACKED = 100_000
"""Values in the lists and maps of a MessagePack body, the names in its maps among them."""

# Every digit as a 0, and nothing else: a long run of digits is then found as a plain text.
_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG = b"0" * 19
_LONG_NUMBER = re.compile(rb"[-+.eE0-9]{19,}+")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_PLAIN = frozenset({str, int, float, bool, type(None), bytes, list, dict})
_LEAST_INT, _MOST_INT = -(1 << 63), (1 << 64) - 1
_DEEP_TEXT, _LONG_TEXT = f"has more than {MOST_LEVELS} levels", "has an integer of more than 64 bits"
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


@dataclass(frozen=True, slots=True)
class Loose:
    """A JSON value of which the parts are judged each on its own: `deep` and `long` say whether there is anything to be
    found, too many levels or an integer of more than 64 bits."""

    value: Any
    deep: bool
    long: bool

    def fault(self, part: Any, outside: int) -> str | None:
        """What is wrong with a part that lies within so many levels; None for nothing."""
        if not (self.deep or self.long):
            return None
        level = [part]
        for left in range(MOST_LEVELS - outside, -1, -1):
            # The parser made a float of it; a float that was written so large beside it cannot be told from it.
            if self.long and any(_beyond_64_bits(value) for value in level):
                return _LONG_TEXT
            maps, lists = list(_only(dict, level)), list(_only(list, level))
            if not (maps or lists):
                return None
            if not left:
                break
            level = [*chain.from_iterable(map(dict.values, maps)), *chain.from_iterable(lists)]
        return _DEEP_TEXT


def decode_json(body: bytes) -> Any:
    """The value of a JSON text; the last of duplicate names wins. Raises BadRequest (`bad-json`)."""
    found = decode_loose(body)
    if found.deep or found.long:
        raise BadRequest(f"the body {_DEEP_TEXT if found.deep else _LONG_TEXT}", code="bad-json")
    return found.value


def decode_loose(body: bytes) -> Loose:
    """As `decode_json`, but levels and integers are still to be judged. Raises BadRequest (`bad-json`)."""
    brackets = b""
    if body.count(b"[") + body.count(b"{") > MOST_LEVELS:
        brackets = _outside_strings(body).translate(_ONE_KIND, _NO_BRACKETS)
        # Before it is parsed: making a million empty lists is what would take long.
        if brackets.count(b"[") > MOST_CONTAINERS:
            raise BadRequest(f"the body has more than {MOST_CONTAINERS} lists and objects", code="bad-json")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("the body is not JSON", code="bad-json") from None
    # orjson turns an integer that does not fit into a float, silently: only here it is looked at again.
    long = _LONG in body.translate(_DIGITS) and _long_integer(_outside_strings(body))
    return Loose(value, _deeper(brackets, MOST_LEVELS), long)


def decode_msgpack(body: bytes) -> Any:
    """The value of one MessagePack object. Raises BadRequest (`bad-msgpack`)."""
    # A shorter body cannot hold more than the bound, and need not pay for being counted.
    counted = _counting() if len(body) > MOST_CONTAINERS else None
    try:
        value = msgpack.unpackb(
            body,
            list_hook=counted,
            object_hook=counted,
            max_array_len=MOST_PACKED,
            max_map_len=MOST_PACKED // 2,
            # Refused where it stands: a million timestamps would be made, and then looked at.
            max_ext_len=0,
            ext_hook=_no_extension,
        )
    except ValueError:
        raise BadRequest("the body is not one MessagePack object within the bounds", code="bad-msgpack") from None
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


def _outside_strings(body: bytes) -> bytes:
    """JSON without its strings; what is no JSON gives anything."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(body.split(b'"')[::2])


def _deeper(brackets: bytes, levels: int) -> bool:
    """Whether balanced `[` and `]` go deeper: each round takes away the innermost pairs, all at once."""
    while brackets and levels:
        brackets = brackets.replace(b"[]", b"")
        levels -= 1
    return bool(brackets)


def _long_integer(text: bytes) -> bool:
    """Whether there are integers of more than 64 bits in JSON that has lost its strings."""
    numbers = [run for run in _LONG_NUMBER.findall(text) if run.removeprefix(b"-").isdigit()]
    # Compared by length first: Python refuses to turn very long digits into a number at all.
    return bool(numbers) and (max(map(len, numbers)) > 20 or not _of_64_bits(list(map(int, numbers))))


def _beyond_64_bits(value: Any) -> bool:
    return type(value) is float and not _LEAST_INT < value <= _MOST_INT


def _of_64_bits(numbers: list[int]) -> bool:
    return min(numbers) >= _LEAST_INT and max(numbers) <= _MOST_INT


def _counting() -> Callable[[Any], Any]:
    containers = values = 0

    def counted(container: Any) -> Any:
        nonlocal containers, values
        containers += 1
        values += len(container) if type(container) is list else 2 * len(container)
        if containers > MOST_CONTAINERS:
            raise BadRequest(f"the body has more than {MOST_CONTAINERS} lists and maps", code="bad-msgpack")
        if values > MOST_PACKED:
            raise BadRequest(f"the body has more than {MOST_PACKED} values", code="bad-msgpack")
        return container

    return counted


def _no_extension(code: int, data: bytes) -> Any:
    raise BadRequest("extension types are not taken", code="bad-msgpack")


def _judge(value: Any) -> None:
    level: list[Any] = [value]
    for left in range(MOST_LEVELS, -1, -1):
        kinds = set(map(type, level))
        if not kinds <= _PLAIN:
            raise BadRequest("extension types are not taken", code="bad-msgpack")
        if float in kinds and not all(map(math.isfinite, _only(float, level))):
            raise BadRequest("numbers are finite", code="bad-msgpack")
        below: list[Any] = []
        if dict in kinds:
            maps = list(_only(dict, level))
            if not set(map(type, chain.from_iterable(maps))) <= {str}:
                raise BadRequest("the names of a map are text", code="bad-msgpack")
            below.extend(chain.from_iterable(map(dict.values, maps)))
        if list in kinds:
            below.extend(chain.from_iterable(_only(list, level)))
        if not below and (left or kinds.isdisjoint((dict, list))):
            return
        level = below
    raise BadRequest(f"the body has more than {MOST_LEVELS} levels", code="bad-msgpack")


def _only(kind: type, values: list[Any]) -> Iterator[Any]:
    return (value for value in values if type(value) is kind)
