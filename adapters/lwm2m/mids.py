"""The message ids of what is sent to one device, or to one place that several devices share."""

from __future__ import annotations

from datetime import datetime

from adapters.lwm2m.exchange import EXCHANGE_LIFETIME
from hub.ports.adapter import Busy, Delivery
from hub.ports.clock import Clock

PER_SECOND = 100
# Half of all message ids per lifetime of an exchange: so none comes again within one, wherever the window lies.
MIDS_PER_LIFETIME = 1 << 15
_ALL = 1 << 16


class Mids:
    """A row of message ids, for as long as whoever hears them may be the same run of a device.

    It begins where the wall clock says, and is lifted to there every 247 s: after a restart that is ahead of what was
    used before it, as long as less than 100 messages a second went there. No id comes again within 247 s: what was used
    in that time before, what the clock lifts the row by, and what may be used from then on are at most all of them.
    """

    __slots__ = ("_last", "_most", "_since", "_used")

    def __init__(self, now: datetime) -> None:
        self._last = _by_the_clock(now)
        self._since = 0.0
        self._used = 0
        self._most = MIDS_PER_LIFETIME

    def next(self, clock: Clock, delivery: Delivery) -> int:
        """The next one. Raises Busy (with `delivery`) when too many were used of late."""
        now = clock.monotonic()
        if now - self._since >= EXCHANGE_LIFETIME:
            lift = max(0, _by_the_clock(clock.now()) - self._last)
            self._most = MIDS_PER_LIFETIME
            if now - self._since < 2 * EXCHANGE_LIFETIME:  # what was used since then may still be remembered
                if self._used + lift > 2 * EXCHANGE_LIFETIME * PER_SECOND:  # the clock was set
                    lift = MIDS_PER_LIFETIME - self._used
                self._most = min(self._most, _ALL - self._used - lift)
            self._since, self._used = now, 0
            self._last += lift
        if self._used >= self._most:
            wait = self._since + EXCHANGE_LIFETIME - now
            raise Busy("the device had too many messages", delivery=delivery, retry_after=wait)
        self._used += 1
        self._last += 1
        return self._last & 0xFFFF


def _by_the_clock(now: datetime) -> int:
    return int(now.timestamp() * PER_SECOND)
