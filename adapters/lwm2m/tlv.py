"""OMA TLV (LwM2M 1.0, 6.4.3): trees of entries as values, bytes in and out.

The format carries no types; what an entry's bytes mean is asked of schema.py by translate.py.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

MAX_DEPTH = 4
MOST_ENTRIES = 10_000


class Level(enum.IntEnum):
    """What an entry is, as the two upper bits of its first byte say."""

    OBJECT_INSTANCE = 0
    RESOURCE_INSTANCE = 1
    MULTIPLE = 2
    RESOURCE = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a value for RESOURCE and RESOURCE_INSTANCE, entries for the two that contain others."""

    level: Level
    id: int
    value: bytes = b""
    entries: tuple[Entry, ...] = ()


def decode(data: bytes) -> tuple[Entry, ...]:
    """The entries of a document. Raises ValueError for anything cut off, nested too deep or too long."""
    return tuple(_decode(data, 0, len(data), 0, [MOST_ENTRIES]))


def _decode(data: bytes, at: int, end: int, depth: int, left: list[int]) -> Iterable[Entry]:
    if depth >= MAX_DEPTH:
        raise ValueError("nested too deep")
    while at < end:
        left[0] -= 1
        if left[0] < 0:
            raise ValueError("too many entries")
        head = data[at]
        at += 1
        wide = 2 if head & 0x20 else 1
        id, at = _number(data, at, wide, end)
        more = head >> 3 & 3
        if more:
            length, at = _number(data, at, more, end)
        else:
            length = head & 7
        if at + length > end:
            raise ValueError("an entry leaves the document")
        level = Level(head >> 6)
        if level in (Level.OBJECT_INSTANCE, Level.MULTIPLE):
            yield Entry(level, id, entries=tuple(_decode(data, at, at + length, depth + 1, left)))
        else:
            yield Entry(level, id, data[at : at + length])
        at += length


def _number(data: bytes, at: int, size: int, end: int) -> tuple[int, int]:
    if at + size > end:
        raise ValueError("cut off")
    return int.from_bytes(data[at : at + size], "big"), at + size


def encode(entries: Iterable[Entry]) -> bytes:
    """The document. Raises ValueError for an id or a value that does not fit."""
    out = bytearray()
    for entry in entries:
        body = encode(entry.entries) if entry.level in (Level.OBJECT_INSTANCE, Level.MULTIPLE) else entry.value
        if not 0 <= entry.id <= 0xFFFF or len(body) > 0xFFFFFF:
            raise ValueError("an entry does not fit")
        head = entry.level << 6 | (0x20 if entry.id > 0xFF else 0)
        size = 0 if len(body) < 8 else (len(body).bit_length() + 7) // 8
        out.append(head | size << 3 | (0 if size else len(body)))
        out += entry.id.to_bytes(2 if entry.id > 0xFF else 1, "big")
        if size:
            out += len(body).to_bytes(size, "big")
        out += body
    return bytes(out)
