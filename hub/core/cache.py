"""Values that devices said may be kept for a while, so that a read need not reach them again (decisions H2).

Only memory: after a restart every read goes to its device. What a call might change is forgotten when the call is
accepted, and nothing is kept from then until no call of the device is open, because an answer that overlaps with a
change may be older than it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hub.model.call import Call
from hub.model.outcome import Ending, Outcome, values_in
from hub.ports.adapter import LONGEST_AGE
from hub.ports.clock import Clock

LONGEST = timedelta(seconds=LONGEST_AGE)

Place = tuple[str, str]
"""A device as its adapter knows it: the adapter's name and the address."""


_DECODED = 256
"""About the bytes that one decoded value takes beside its text."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A value and until when (monotonic) it may be told; `values` are what an adapter decoded from it, `size` is about
    the bytes that all of it takes."""

    payload: bytes
    content_type: str | None
    until: float
    values: Sequence[Any] | None
    size: int


def _size(payload: bytes, values: Sequence[Any] | None) -> int:
    return len(payload) + (0 if values is None else _DECODED * len(values) + len(repr(values)))


class Cache:
    """The values of all devices, by (device, target, accept); the oldest go first when there are too many."""

    def __init__(self, clock: Clock, entries: int = 100_000, size: int = 64 * 1024 * 1024) -> None:
        self._clock = clock
        self._entries = entries
        self._most = size
        self._kept: dict[tuple[Place, str, str | None], Kept] = {}
        self._of: dict[Place, set[tuple[Place, str, str | None]]] = {}
        self._unsettled: set[Place] = set()
        self._size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def look(self, place: Place, target: str, accept: str | None) -> tuple[Kept, timedelta] | None:
        """The value and for how long it may still be kept; None when there is none.

        A value that came without being asked for in a form serves everybody who wants the form that it has.
        """
        for form in (accept, None):
            key = (place, target, form)
            kept = self._kept.get(key)
            if kept is None or accept not in (form, kept.content_type):
                continue
            left = kept.until - self._clock.monotonic()
            if left > 0:
                return kept, timedelta(seconds=left)
            self._remove(key)
        return None

    def keep(
        self, place: Place, target: str, accept: str | None, payload: bytes, content_type: str | None,
        max_age: timedelta | None, values: Sequence[Any] | None = None,
    ) -> None:
        """Keep a value for its age, at most three days; one without an age, or of age 0, replaces what was kept."""
        key = (place, target, accept)
        self._remove(key)
        if max_age is None or max_age <= timedelta(0) or place in self._unsettled:
            return
        seconds = min(max_age, LONGEST).total_seconds()
        until = self._clock.monotonic() + seconds
        kept = self._kept[key] = Kept(payload, content_type, until, values, _size(payload, values))
        self._of.setdefault(place, set()).add(key)
        self._size += kept.size
        while len(self._kept) > self._entries or self._size > self._most:
            self._remove(next(iter(self._kept)))

    def news(
        self, place: Place, target: str, payload: bytes, content_type: str | None, max_age: timedelta | None,
        values: Sequence[Any] | None = None,
    ) -> None:
        """A device told a value by itself: whatever was kept of that target, in any form, is older."""
        for key in tuple(self._of.get(place, ())):
            if key[1] == target:
                self._remove(key)
        self.keep(place, target, None, payload, content_type, max_age, values)

    def drop(self, place: Place) -> None:
        """Forget every value of the device."""
        for key in tuple(self._of.get(place, ())):
            self._remove(key)

    def changing(self, place: Place) -> None:
        """A call that may change the device was accepted: forget its values, keep none until it is settled."""
        self.drop(place)
        self._unsettled.add(place)

    def settled(self, place: Place) -> None:
        """No call of the device is open any more."""
        self._unsettled.discard(place)

    def _remove(self, key: tuple[Place, str, str | None]) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._size -= kept.size
        mine = self._of[key[0]]
        mine.discard(key)
        if not mine:
            del self._of[key[0]]


def kept_answer(cache: Cache, call: Call, at: datetime) -> Outcome | None:
    """The outcome of a read by a value that was kept; None when it must go to its device."""
    spec = call.spec
    if spec.method != "GET" or spec.payload or spec.args:
        return None
    found = cache.look((call.adapter, call.address), spec.target, spec.accept)
    if found is None:
        return None
    kept, left = found
    native = {"cached": True} if kept.values is None else {"cached": True, "values": kept.values}
    return Outcome(Ending.ANSWERED, 200, kept.payload, kept.content_type, left, device_time=at, native=native)


def keep_answer(cache: Cache, call: Call, outcome: Outcome) -> None:
    """Keep what a device answered to a read, if it said for how long."""
    cache.keep(
        (call.adapter, call.address), call.spec.target, call.spec.accept, outcome.payload, outcome.content_type,
        outcome.max_age, values_in(outcome.native),
    )
