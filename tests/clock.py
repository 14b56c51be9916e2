"""A clock that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any


class ManualTimer:
    """A pending call-back of a ManualClock."""

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.callback: Callable[..., Any] | None = callback
        self.args = args

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Stands still until `advance`; call-backs run inside `advance`, in order of their times."""

    def __init__(self, wall: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._wall = wall
        self._mono = 1000.0
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._mono

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> ManualTimer:
        timer = ManualTimer(callback, args)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    async def sleep_until(self, when: float) -> None:
        if when <= self._mono:
            await asyncio.sleep(0)
            return
        done = asyncio.get_running_loop().create_future()
        timer = self.call_at(when, lambda: done.done() or done.set_result(None))
        try:
            await done
        finally:
            timer.cancel()

    @property
    def pending(self) -> int:
        """How many call-backs wait."""
        return sum(1 for _, _, timer in self._timers if timer.callback is not None)

    def step_wall(self, seconds: float) -> None:
        """Move the wall clock only, as an operator or NTP would."""
        self._wall += timedelta(seconds=seconds)

    def advance(self, seconds: float) -> None:
        """Move both clocks, running what is due on the way."""
        target = self._mono + seconds
        while self._timers and self._timers[0][0] <= target:
            when, _, timer = heapq.heappop(self._timers)
            if when > self._mono:
                self._wall += timedelta(seconds=when - self._mono)
                self._mono = when
            if timer.callback is not None:
                callback, timer.callback = timer.callback, None
                callback(*timer.args)
        self._wall += timedelta(seconds=target - self._mono)
        self._mono = target
