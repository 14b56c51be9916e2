"""Many things that are due at some second, with one timer for all of them: expiry and sleep come a second late at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, TypeVar

from hub.ports.clock import Clock, Timer

T = TypeVar("T")


class Wheel(Generic[T]):
    """Calls `due(item)` at the first full second at or after the item's time, once."""

    def __init__(self, clock: Clock, due: Callable[[T], None]) -> None:
        self._clock = clock
        self._due = due
        self._slots: dict[int, set[T]] = {}
        self._timer: Timer | None = None
        self._next = 0

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._slots.values())

    def add(self, when: float, item: T) -> int:
        """Have `item` called at monotonic `when`; returns what `discard` needs to take it back."""
        slot = max(math.ceil(when), math.floor(self._clock.monotonic()) + 1)
        self._slots.setdefault(slot, set()).add(item)
        if self._timer is None or slot < self._next:
            self._arm(slot)
        return slot

    def discard(self, slot: int, item: T) -> None:
        """Do not call it; harmless when it was called."""
        items = self._slots.get(slot)
        if items is not None:
            items.discard(item)
            if not items:
                del self._slots[slot]

    def stop(self) -> None:
        """Call nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()

    def _arm(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = slot
        self._timer = self._clock.call_at(slot, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for slot in sorted(slot for slot in self._slots if slot <= now):
            for item in self._slots.pop(slot):
                self._due(item)
        if self._slots and self._timer is None:
            self._arm(min(self._slots))
