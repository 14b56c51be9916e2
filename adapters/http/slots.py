"""How many requests are under way to each device, and to all."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self


class Slots:
    """Counts requests under way."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()
        self.total = 0

    def of(self, device: str) -> int:
        """How many are under way to a device."""
        return self._of.get(device, 0)

    def take(self, device: str) -> Slot:
        """One more; to be freed."""
        self._of[device] += 1
        self.total += 1
        return Slot(self, device)

    def give(self, device: str) -> None:
        """One less."""
        self._of[device] -= 1
        self.total -= 1
        if not self._of[device]:
            del self._of[device]


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
