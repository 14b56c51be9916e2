"""A running observation of one point of a simulated device."""

from __future__ import annotations

from collections.abc import Callable

from hub.ports.adapter import ObserveSpec


class SimulatedObservation:
    """Counts its notifications: `seq` of the first value is 0, of the first notification 1."""

    __slots__ = ("_ended", "active", "last", "seq", "spec")

    def __init__(self, spec: ObserveSpec, first: bytes, ended: Callable[[SimulatedObservation], None]) -> None:
        self.spec = spec
        self.active = True
        self.seq = 0
        self.last = first
        self._ended = ended

    async def cancel(self) -> None:
        """Stop it; a second cancel is harmless."""
        if self.active:
            self.active = False
            self._ended(self)
