"""WebSocket frames as a server sends them (RFC 6455, unmasked): bytes in, bytes out, no I/O.

A listener's sink takes finished frames, several joined; a frame is made once and written to all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

CONTROL_MAX = 125


class Frame(NamedTuple):
    """One unfragmented frame."""

    opcode: int
    payload: bytes


def frame(opcode: int, payload: bytes) -> bytes:
    """One final frame. Raises ValueError for a control frame of more than 125 bytes."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if opcode >= CLOSE:
        raise ValueError("a control frame carries at most 125 bytes")
    if size < 1 << 16:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def data(payload: bytes, *, binary: bool) -> bytes:
    """A text or binary frame; text must be UTF-8."""
    return frame(BINARY if binary else TEXT, payload)


def ping(payload: bytes) -> bytes:
    """A ping; the pong brings `payload` back."""
    return frame(PING, payload)


def close(code: int, reason: str = "") -> bytes:
    """A close frame; a reason that is too long is cut, never in the middle of a character."""
    cut = reason.encode()[: CONTROL_MAX - 2].decode(errors="ignore")
    return frame(CLOSE, code.to_bytes(2, "big") + cut.encode())


def parse(joined: bytes) -> Iterator[Frame]:
    """The frames of `joined`, which holds whole unmasked frames only (what this module made)."""
    at = 0
    while at < len(joined):
        opcode, size = joined[at] & 0x0F, joined[at + 1] & 0x7F
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(joined[at : at + width], "big")
            at += width
        if at + size > len(joined):
            raise ValueError("a frame is cut off")
        yield Frame(opcode, joined[at : at + size])
        at += size
