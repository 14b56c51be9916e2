"""How many requests are under way to each device, and to all."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from types import TracebackType
from typing import Self


class Slots:
    """Counts requests under way: at most `most` to a device, and `total` to all."""

    def __init__(self, most: int, total: int) -> None:
        self._most = most
        self._all = total
        self._of: Counter[str] = Counter()
        self._lines: dict[str, deque[asyncio.Future[Slot]]] = {}
        self.total = 0

    def room(self, device: str) -> int:
        """How many more may go to a device now: none before those who stand in line for it."""
        if device in self._lines or self.total >= self._all:
            return 0
        return max(0, self._most - self._of[device])

    def take(self, device: str) -> Slot:
        """One more; to be freed. Only where there is room."""
        self._of[device] += 1
        self.total += 1
        return Slot(self, device)

    async def turn(self, device: str) -> Slot:
        """One more as soon as there is room, in the order of asking."""
        if self.room(device):
            return self.take(device)
        given: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(device, deque())
        line.append(given)
        try:
            return await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled():
                given.result().free()
            elif given in line:
                line.remove(given)
                if not line and self._lines.get(device) is line:
                    del self._lines[device]
            raise

    def give(self, device: str) -> None:
        """One less."""
        full = self.total >= self._all
        self._of[device] -= 1
        self.total -= 1
        if not self._of[device]:
            del self._of[device]
        self._serve(device)
        if full:
            for other in list(self._lines):
                if self.total >= self._all:
                    break
                self._serve(other)

    def _serve(self, device: str) -> None:
        line = self._lines.get(device)
        while line and self.total < self._all and self._of[device] < self._most:
            given = line.popleft()
            if not given.done():
                given.set_result(self.take(device))
        if line is not None and not line:
            del self._lines[device]


class Slot:
    """One request under way; freed at the end of its block at the latest, and once."""

    __slots__ = ("_device", "_held", "_slots")

    def __init__(self, slots: Slots, device: str) -> None:
        self._slots = slots
        self._device = device
        self._held = True

    def free(self) -> None:
        """Give it back; a second time is harmless."""
        if self._held:
            self._held = False
            self._slots.give(self._device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()
