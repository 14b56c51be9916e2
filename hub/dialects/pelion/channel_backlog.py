"""How much waits in an application's queue: counted in steps, the oldest beyond the limit given up. Pure.

The queue itself is the channel's log between a position and the head; here is only its weight, as marks of some 64 KiB,
so that 50 MB of waiting events are 800 marks and not a read of the log.
"""

from __future__ import annotations

from collections import deque

from hub.model.event import Event

STEP = 64 * 1024
OVERHEAD = 256
RESOURCE = 96


def weigh(event: Event) -> int:
    """About how many bytes an event takes of the queue, the overhead of its storage included."""
    weight = OVERHEAD
    for value in event.body.values():
        if isinstance(value, bytes | str):
            weight += len(value)
        elif isinstance(value, list | dict):
            weight += RESOURCE * len(value)
    return weight


class Backlog:
    """The weight of the events after a position. `lost` is the offset up to which events were given up."""

    __slots__ = ("_marks", "_most", "bytes", "lost")

    def __init__(self, most: int) -> None:
        self._most = most
        # (offset up to which, bytes), oldest first.
        self._marks: deque[tuple[int, int]] = deque()
        self.bytes = 0
        self.lost = 0

    def add(self, offset: int, weight: int) -> None:
        """One more event waits; what is beyond the limit goes, oldest first, but never the newest."""
        self.bytes += weight
        if self._marks and self._marks[-1][1] + weight <= min(STEP, self._most // 16):
            weight += self._marks.pop()[1]
        self._marks.append((offset, weight))
        while self.bytes > self._most and len(self._marks) > 1:
            self.lost = self._drop()

    def moved(self, offset: int) -> None:
        """Everything up to `offset` waits no more."""
        while self._marks and self._marks[0][0] <= offset:
            self._drop()

    def _drop(self) -> int:
        upto, weight = self._marks.popleft()
        self.bytes -= weight
        return upto
