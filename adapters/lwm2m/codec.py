"""CoAP messages as values (RFC 7252, 3): bytes in, Message out, and back.

No sockets, no clock, no retries; those are endpoint.py and exchange.py. Options are kept as they came, in order of
their numbers and with their raw values, because a server must not lose what it does not understand; what the numbers
mean is option.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CON, NON, ACK, RST = range(4)

EMPTY = 0x00
GET, POST, PUT, DELETE, FETCH, PATCH, IPATCH = range(1, 8)

CREATED = 0x41
DELETED = 0x42
VALID = 0x43
CHANGED = 0x44
CONTENT = 0x45
CONTINUE = 0x5F
BAD_REQUEST = 0x80
BAD_OPTION = 0x82
FORBIDDEN = 0x83
NOT_FOUND = 0x84
METHOD_NOT_ALLOWED = 0x85
NOT_ACCEPTABLE = 0x86
REQUEST_ENTITY_INCOMPLETE = 0x88
PRECONDITION_FAILED = 0x8C
REQUEST_ENTITY_TOO_LARGE = 0x8D
UNSUPPORTED_FORMAT = 0x8F
TOO_MANY_REQUESTS = 0x9D
SERVICE_UNAVAILABLE = 0xA3
PROXYING_NOT_SUPPORTED = 0xA5

Options = list[tuple[int, bytes]]


class Packed(tuple[tuple[int, bytes], ...]):
    """Options with the bytes that they are on the wire: for those that go out again and again."""

    wire: bytes

    def __new__(cls, options: Iterable[tuple[int, bytes]]) -> Packed:
        """Raises ValueError for fields that do not fit."""
        packed = super().__new__(cls, sorted(options, key=_number))
        packed.wire = _wire(packed)
        return packed


class Malformed(Exception):
    """The bytes are no CoAP message. `kind` and `mid` are told where the header could be read, else None.

    A receiver answers a malformed CON with RST and ignores every other one.
    """

    def __init__(self, why: str, kind: int | None = None, mid: int | None = None) -> None:
        super().__init__(why)
        self.kind = kind
        self.mid = mid


@dataclass(slots=True)
class Message:
    """One message. `options` are (number, raw value) in ascending order of numbers."""

    kind: int
    code: int
    mid: int
    token: bytes = b""
    options: Sequence[tuple[int, bytes]] = ()
    payload: bytes = b""

    @property
    def is_request(self) -> bool:
        """Whether the code is a method."""
        return 0 < self.code < 0x20

    @property
    def is_response(self) -> bool:
        """Whether the code is of class 2, 4 or 5."""
        return self.code >> 5 in (2, 4, 5)

    def first(self, number: int) -> bytes | None:
        """The first value of an option, None when it is absent."""
        for found, value in self.options:
            if found == number:
                return value
        return None

    def all(self, number: int) -> list[bytes]:
        """Every value of an option, in order."""
        return [value for found, value in self.options if found == number]


_TEXTS = tuple(f"{code >> 5}.{code & 0x1F:02d}" for code in range(256))


def code_text(code: int) -> str:
    """A code as it is spoken: `2.05`."""
    return _TEXTS[code]


def encode(message: Message) -> bytes:
    """The datagram. Options may be in any order; those of one number keep theirs. Raises ValueError for fields that
    do not fit."""
    token, options = message.token, message.options
    if len(token) > 8:
        raise ValueError("a token has at most 8 bytes")
    out = bytearray((0x40 | message.kind << 4 | len(token), message.code, message.mid >> 8, message.mid & 0xFF))
    out += token
    if options:
        out += options.wire if type(options) is Packed else _wire(options)
    if message.payload:
        out.append(0xFF)
        out += message.payload
    return bytes(out)


def _wire(options: Sequence[tuple[int, bytes]]) -> bytes:
    out = bytearray()
    last = 0
    for number, value in options:
        delta, length = number - last, len(value)
        last = number
        if delta < 0:
            return _wire(sorted(options, key=_number))
        if delta < 13 and length < 13:
            out.append(delta << 4 | length)
        else:
            delta_nibble, delta_more = _extended(delta)
            length_nibble, length_more = _extended(length)
            out.append(delta_nibble << 4 | length_nibble)
            out += delta_more
            out += length_more
        out += value
    return bytes(out)


def decode(data: bytes) -> Message:
    """The message that a datagram holds. Raises Malformed, and nothing else, for anything that is not one."""
    size = len(data)
    if size < 4:
        raise Malformed("shorter than a header")
    first = data[0]
    if first >> 6 != 1:
        raise Malformed("not version 1")
    kind, length, code, mid = first >> 4 & 3, first & 0x0F, data[1], data[2] << 8 | data[3]
    if code == EMPTY:
        if length or size > 4:
            raise Malformed("an empty message has nothing behind its header", kind, mid)
        return Message(kind, code, mid)
    if length > 8:
        raise Malformed("a token has at most 8 bytes", kind, mid)
    at = 4 + length
    if at > size:
        raise Malformed("ends within the token", kind, mid)
    token = data[4:at]
    options: Options = []
    number = 0
    while at < size:
        head = data[at]
        at += 1
        if head == 0xFF:
            if at == size:
                raise Malformed("a payload marker without a payload", kind, mid)
            return Message(kind, code, mid, token, options, data[at:])
        delta, length = head >> 4, head & 0x0F
        if delta >= 13:
            delta, at = _extension(data, at, delta, kind, mid)
        if length >= 13:
            length, at = _extension(data, at, length, kind, mid)
        number += delta
        end = at + length
        if end > size or number > 0xFFFF:
            raise Malformed("an option leaves the message", kind, mid)
        options.append((number, data[at:end]))
        at = end
    return Message(kind, code, mid, token, options)


def _number(option: tuple[int, bytes]) -> int:
    return option[0]


def _extended(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes((value - 13,))
    if value > 65804:
        raise ValueError("an option number or length is too large")
    return 14, (value - 269).to_bytes(2, "big")


def _extension(data: bytes, at: int, nibble: int, kind: int, mid: int) -> tuple[int, int]:
    if nibble == 13 and at < len(data):
        return data[at] + 13, at + 1
    if nibble == 14 and at + 1 < len(data):
        return (data[at] << 8 | data[at + 1]) + 269, at + 2
    raise Malformed("a reserved or cut-off option head", kind, mid)
