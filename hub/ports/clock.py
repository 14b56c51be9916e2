"""The only place that reads time.

Two clocks in one: `now()` is the wall clock for what is stored and shown, `monotonic()` (seconds,
the event loop's own) for everything that is waited for, so that a step of the wall clock ends no
call early and leaves none hanging.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol


class Timer(Protocol):
    """A pending call-back that can be called off; cancelling twice is harmless."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time, injected. Tests move theirs by hand (`tests/clock.py`)."""

    def now(self) -> datetime:
        """The wall clock as an aware datetime in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow; the time base of the event loop's timers in production."""
        ...

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Run `callback(*args)` on the loop at monotonic time `when` (or soon, if it has passed)."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return at monotonic time `when`."""
        ...


EARLY = 0.001
"""Seconds by which uvloop, which counts milliseconds, may call a timer before its time: whoever is woken and looks at
the clock would find that it is not time yet, and wait for a timer that has gone."""


class SystemClock:
    """The real clock, on the running asyncio loop."""

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The clock that the loop's timers run by, read afresh: uvloop's own `time()` stands still in an iteration."""
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """As `loop.call_at`, but never early."""
        return asyncio.get_running_loop().call_at(when + EARLY, callback, *args)

    async def sleep_until(self, when: float) -> None:
        """Sleep by `call_at`: `asyncio.sleep` rounds twice, its delay and the whole milliseconds that uvloop counts
        from, and together they may exceed `EARLY`."""
        woken = asyncio.Event()
        timer = self.call_at(when, woken.set)
        try:
            await woken.wait()
        finally:
            timer.cancel()


def monotonic_at(clock: Clock, moment: datetime) -> float:
    """The monotonic time of a wall-clock moment, by the two clocks as they stand now."""
    return clock.monotonic() + (moment - clock.now()) / timedelta(seconds=1)
