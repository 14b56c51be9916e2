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

    __slots__ = ("_stop", "active", "last", "last_at", "spec", "token")

    def __init__(self, spec: ObserveSpec, token: bytes, stop: Callable[[Observed], Awaitable[None]]) -> None:
        self.spec = spec
        self.token = token
        self.active = False
        self.last: int | None = None
        self.last_at = 0.0
        self._stop = stop

    def takes(self, number: int | None, at: float) -> bool:
        """Whether a notification is news; if so it is the last one from now on."""
        if number is None:
            return True
        if self.last is not None and not is_newer(self.last, self.last_at, number, at):
            return False
        self.last, self.last_at = number, at
        return True

    def again(self, spec: ObserveSpec) -> Observed:
        """The same observation asked for again: with its token, which renews it on the device."""
        newer = Observed(spec, self.token, self._stop)
        newer.active, newer.last, newer.last_at = self.active, self.last, self.last_at
        return newer

    async def cancel(self) -> None:
        """Stop it."""
        if self.active:
            self.active = False
            await self._stop(self)
