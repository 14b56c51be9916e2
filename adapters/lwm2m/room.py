"""How many calls there may be at a time, and who is to be told when there is room for more again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from hub.ports.clock import Clock, Timer

LOOK_AGAIN = 1.0
"""Seconds after which those are told for whom somebody else before them made no use of his place."""


class Room:
    """Counts calls. `tell` has the hub look again at what waits for a device; False where it could not be told now."""

    def __init__(self, clock: Clock, most: int, tell: Callable[[str], bool]) -> None:
        self._clock = clock
        self._most = most
        self._tell = tell
        self._taken = 0
        self._refused: dict[str, None] = {}
        self._timer: Timer | None = None

    def __len__(self) -> int:
        return self._taken

    @property
    def refused(self) -> int:
        """How many devices are to be told."""
        return len(self._refused)

    def free(self, device: str) -> int:
        """How many more calls there may be; a device that finds none is told when there is one."""
        free = self._most - self._taken
        if free <= 0:
            self._refused[device] = None
        return max(0, free)

    def take(self) -> None:
        """A call begins."""
        self._taken += 1

    def give(self) -> None:
        """A call is over."""
        self._taken -= 1
        if self._refused:
            self._look()

    def stop(self) -> None:
        """Tell nobody any more."""
        self._refused.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Tell as many as there is room for, in the order in which they were refused."""
        for device in list(islice(self._refused, max(0, self._most - self._taken))):
            del self._refused[device]
            if not self._tell(device):
                self._refused[device] = None
        if self._refused and self._timer is None:
            self._timer = self._clock.call_at(self._clock.monotonic() + LOOK_AGAIN, self._again)

    def _again(self) -> None:
        self._timer = None
        if self._refused:
            self._look()
