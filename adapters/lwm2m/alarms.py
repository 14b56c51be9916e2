"""Many alarms, most of which are cancelled before they ring, with one timer for all of them.

A timer of the event loop costs more than the exchange that it watches over; an entry of a heap does not. What was
cancelled stays in the heap until half of it is that.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from hub.ports.clock import Clock, Timer

T = TypeVar("T")

Alarm = list[Any]
"""What `set` returns and `cancel` takes: the time, a number that tells alarms of one time apart, the item."""

_ITEM = 2
_FEW = 64


class Alarms(Generic[T]):
    """Calls `ring(item)` once at the time of each, in their order."""

    def __init__(self, clock: Clock, ring: Callable[[T], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._heap: list[Alarm] = []
        self._numbers = itertools.count()
        self._live = 0
        self._timer: Timer | None = None
        self._armed = math.inf

    def __len__(self) -> int:
        return self._live

    def set(self, when: float, item: T) -> Alarm:
        """Have `item` rung for at monotonic `when`."""
        alarm: Alarm = [when, next(self._numbers), item]
        heapq.heappush(self._heap, alarm)
        self._live += 1
        if when < self._armed:
            self._arm(when)
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        """Do not ring for it; harmless when it has rung."""
        if alarm[_ITEM] is None:
            return
        alarm[_ITEM] = None
        self._live -= 1
        if self._live == 0:
            self._heap.clear()
            self._arm(math.inf)
        elif len(self._heap) > _FEW and self._live * 2 < len(self._heap):
            self._heap = [kept for kept in self._heap if kept[_ITEM] is not None]
            heapq.heapify(self._heap)

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = when
        self._timer = None if when == math.inf else self._clock.call_at(when, self._turn)

    def _turn(self) -> None:
        self._timer, self._armed = None, math.inf
        now = self._clock.monotonic()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][_ITEM] is None):
            alarm = heapq.heappop(self._heap)
            item, alarm[_ITEM] = alarm[_ITEM], None
            if item is not None:
                self._live -= 1
                self._ring(item)
        if self._heap and self._heap[0][0] < self._armed:
            self._arm(self._heap[0][0])
