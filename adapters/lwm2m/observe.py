"""Observations (RFC 7641): which of two notifications is newer, and what the hub holds while one runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from hub.ports.adapter import ObserveSpec

FRESH_AFTER = 128.0
_HALF = 1 << 23


def is_newer(last: int, last_at: float, number: int, at: float) -> bool:
    """Whether notification `number`, heard at `at`, is newer than the last (RFC 7641, 3.4): by the order of 24-bit
    numbers, which run around, or because 128 s lie between the two."""
    return (last < number and number - last < _HALF) or (last > number and last - number > _HALF) or (
        at > last_at + FRESH_AFTER
    )


class Mark(NamedTuple):
    """How new the newest notification of an observation is."""

    last: int | None
    last_at: float
    last_mid: int | None


class Observed:
    """One observation of one resource, alive from its first answer on. Implements `ports.adapter.Observation` and
    `ports.abilities.Dated`.

    A second cancel is harmless. `token` outlives a restart of the hub.
    """

    __slots__ = ("_stop", "active", "began", "last", "last_at", "last_mid", "spec", "token")

    def __init__(self, spec: ObserveSpec, token: bytes, stop: Callable[[Observed], Awaitable[None]]) -> None:
        self.spec = spec
        self.token = token
        self.active = False
        self.began = 0.0
        self.last: int | None = None
        self.last_at = 0.0
        self.last_mid: int | None = None
        self._stop = stop

    def begin(self, number: int, at: float, mid: int | None) -> None:
        """It runs from now on, by an answer with this number; `mid` is None for one in an acknowledgement."""
        self.active, self.began = True, at
        self.mark = Mark(number, at, mid)

    @property
    def mark(self) -> Mark:
        """How new the newest one is."""
        return Mark(self.last, self.last_at, self.last_mid)

    @mark.setter
    def mark(self, mark: Mark) -> None:
        self.last, self.last_at, self.last_mid = mark

    def takes(self, number: int | None, at: float, mid: int | None) -> bool:
        """Whether a notification is news; if so it is the last one from now on. What came in an acknowledgement has no
        `mid` of its own."""
        if number is None:
            return True
        # Some devices count from 1 again behind a first answer that was 1: another message, so another value.
        again = number == self.last and mid is not None and mid != self.last_mid
        if self.last is not None and not again and not is_newer(self.last, self.last_at, number, at):
            return False
        self.last, self.last_at, self.last_mid = number, at, mid
        return True

    def again(self, spec: ObserveSpec) -> Observed:
        """The same observation asked for again: with its token, which renews it on the device."""
        newer = Observed(spec, self.token, self._stop)
        newer.active, newer.mark = self.active, self.mark
        return newer

    async def cancel(self) -> None:
        """Stop it."""
        if self.active:
            self.active = False
            await self._stop(self)
