"""Observations (RFC 7641): which of two notifications is newer, and what the hub holds while one runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hub.ports.adapter import ObserveSpec

FRESH_AFTER = 128.0
_HALF = 1 << 23


def is_newer(last: int, last_at: float, number: int, at: float) -> bool:
    """Whether notification `number`, heard at `at`, is newer than the last (RFC 7641, 3.4): by the order of 24-bit
    numbers, which run around, or because 128 s lie between the two."""
    return (last < number and number - last < _HALF) or (last > number and last - number > _HALF) or (
        at > last_at + FRESH_AFTER
    )


class Observed:
    """One observation of one resource, alive from its first answer on. Implements `ports.adapter.Observation`.

    A second cancel is harmless. `token` outlives a restart of the hub.
    """

    __slots__ = ("_stop", "active", "last", "last_at", "last_mid", "spec", "token")

    def __init__(self, spec: ObserveSpec, token: bytes, stop: Callable[[Observed], Awaitable[None]]) -> None:
        self.spec = spec
        self.token = token
        self.active = False
        self.last: int | None = None
        self.last_at = 0.0
        self.last_mid: int | None = None
        self._stop = stop

    def takes(self, number: int | None, at: float, mid: int) -> bool:
        """Whether a notification is news; if so it is the last one from now on."""
        if number is None:
            return True
        # Some devices count from 1 again behind a first answer that was 1: another message, so another value.
        again = number == self.last and mid != self.last_mid
        if self.last is not None and not again and not is_newer(self.last, self.last_at, number, at):
            return False
        self.last, self.last_at, self.last_mid = number, at, mid
        return True

    def again(self, spec: ObserveSpec) -> Observed:
        """The same observation asked for again: with its token, which renews it on the device."""
        newer = Observed(spec, self.token, self._stop)
        newer.active, newer.last = self.active, self.last
        newer.last_at, newer.last_mid = self.last_at, self.last_mid
        return newer

    async def cancel(self) -> None:
        """Stop it."""
        if self.active:
            self.active = False
            await self._stop(self)
