"""Identifiers: made here, from a moment and the system's random source.

A call id is a time-ordered UUID (RFC 9562, version 7), so that journals sort by it and it can serve
as the id of a PowerStore job. Nothing here reads a clock: the moment is handed in.
"""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime
from typing import NewType

CallId = NewType("CallId", str)
Incarnation = NewType("Incarnation", str)

_COUNTER_BITS = 12


class CallIds:
    """Makes call ids that never go backwards within one process.

    Two ids made in the same millisecond differ in a 12-bit counter; when it runs over, or the wall
    clock steps back, the millisecond of the last id is moved on instead (RFC 9562, 6.2 method 1).
    """

    __slots__ = ("_counter", "_last_ms", "_pool", "_used")

    def __init__(self) -> None:
        self._last_ms = 0
        self._counter = 0
        self._pool = b""
        self._used = 0

    def make(self, now: datetime) -> CallId:
        """A new id for the moment `now`; greater, as text, than every id made before."""
        ms = int(now.timestamp() * 1000)
        if ms > self._last_ms:
            self._last_ms = ms
            self._counter = 0
        else:
            self._counter += 1
            if self._counter >> _COUNTER_BITS:
                self._last_ms += 1
                self._counter = 0
        tail = self._random() >> 2
        number = (
            (self._last_ms & 0xFFFF_FFFF_FFFF) << 80
            | 0x7 << 76
            | self._counter << 64
            | 0b10 << 62
            | tail
        )
        return CallId(str(uuid.UUID(int=number)))

    def _random(self) -> int:
        """64 random bits; the system is asked for 512 ids at a time, since each question is a system call."""
        if self._used >= len(self._pool):
            self._pool, self._used = secrets.token_bytes(8 * 512), 0
        start = self._used
        self._used = start + 8
        return int.from_bytes(self._pool[start : start + 8], "big")


def new_incarnation() -> Incarnation:
    """A random name for one run of the process; ownership of work is tied to it, not to a host."""
    return Incarnation(secrets.token_hex(8))


def new_epoch() -> str:
    """64 random bits as 16 hex digits: the life of one channel, renewed when it is made again."""
    return secrets.token_hex(8)
