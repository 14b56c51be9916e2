"""Whether an upstream is worth a try: after so many failed connections nobody is sent there but one who looks."""

from __future__ import annotations

from collections.abc import Callable

LEAST_PAUSE, MOST_PAUSE = 1.0, 30.0


class Breaker:
    """Counts failures of the connection, and while it is open the looks that found nobody. `opened` and `closed` are
    called when it changes."""

    def __init__(self, most: int, opened: Callable[[], None], closed: Callable[[], None]) -> None:
        self._most = most
        self._opened = opened
        self._closed = closed
        self._looks = 0
        self.failures = 0
        self.open = False

    @property
    def pause(self) -> float:
        """Seconds to the next look while it is open: 1, 2, 4 ... 30."""
        return float(min(MOST_PAUSE, LEAST_PAUSE * 2 ** min(self._looks, 10)))

    def failed(self) -> None:
        """A connection could not be made, or broke."""
        self.failures += 1
        if self.failures >= self._most and not self.open:
            self.open = True
            self._looks = 0
            self._opened()

    def looked_in_vain(self) -> None:
        """Somebody looked, and nobody answered. Requests that were under way and fail together are no looks."""
        self._looks += 1

    def answered(self) -> None:
        """Somebody answers there, whatever it says."""
        self.failures = 0
        if self.open:
            self.open = False
            self._closed()
