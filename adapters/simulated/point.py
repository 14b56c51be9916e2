"""A point: one addressable value or action of a simulated device, as declared; what it holds now is in `device.py`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from adapters.simulated.behaviour import Behaviour


@dataclass(frozen=True, slots=True)
class Drift:
    """A number that wanders around its base by at most `amplitude`, a step every `interval`.

    A pure function of the step, so that what is read and what is notified agree and nothing has to run while nobody
    looks.
    """

    interval: timedelta
    amplitude: float

    def step(self, now: float) -> int:
        """The number of the step that is current at monotonic time `now`."""
        return int(now / self.interval.total_seconds())

    def offset(self, seed: str, step: int) -> float:
        """How far from its base the number stands at a step."""
        digest = hashlib.blake2b(f"{seed}#{step}".encode(), digest_size=4).digest()
        return (int.from_bytes(digest) / 0xFFFF_FFFF * 2 - 1) * self.amplitude


@dataclass(frozen=True, slots=True)
class Point:
    """What a device offers at a path. `value` is what it holds when the device starts."""

    path: str
    methods: frozenset[str] = frozenset({"GET", "PUT"})
    value: bytes = b""
    content_type: str | None = "text/plain"
    max_age: int | None = None
    resource_type: str | None = None
    observable: bool = False
    drift: Drift | None = None
    behaviour: Behaviour | None = None
