"""Whether an upstream is worth a try: after so many failures in a row nobody is sent there but one who looks."""

from __future__ import annotations

from collections.abc import Callable

LEAST_PAUSE, MOST_PAUSE = 1.0, 30.0
LEAST_SILENT = 5
"""One request that is not answered may be a slow one, however little it takes else to give an upstream up."""


class Breaker:
    """Counts failures and answers, and while it is open the looks that found nobody. `opened` and `closed` are called
    when it changes."""

    def __init__(self, most: int, opened: Callable[[], None], closed: Callable[[], None]) -> None:
        self._most = most
        self._opened = opened
        self._closed = closed
        self._looks = 0
        self.failures = 0
        self.answers = 0
        self.open = False

    @property
    def pause(self) -> float:
        """Seconds to the next look while it is open: 1, 2, 4 ... 30."""
        return float(min(MOST_PAUSE, LEAST_PAUSE * 2 ** min(self._looks, 10)))

    def failed(self, *, silent: bool = False) -> None:
        """A connection could not be made, or broke; `silent`: nothing came over it in time."""
        self.failures += 1
        if self.failures >= (max(self._most, LEAST_SILENT) if silent else self._most) and not self.open:
            self.open = True
            self._looks = 0
            self._opened()

    def looked_in_vain(self) -> None:
        """Somebody looked, and nobody answered. Requests that were under way and fail together are no looks."""
        self._looks += 1

    def answered(self) -> None:
        """Somebody answers there, whatever it says."""
        self.answers += 1
        self.failures = 0
        if self.open:
            self.open = False
            self._closed()
