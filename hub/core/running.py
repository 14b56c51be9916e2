"""One running observation of a resource, and which of the values told of it is the newest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hub.ports.abilities import Dated
from hub.ports.adapter import DeviceResponse, Observation

NO_VALUE_YET = 204
"""An observation that began without a value says so by this status."""


@dataclass(slots=True)
class Running:
    """The one observation of a (device, path): starting while `task` is there. `last` is the newest value, of the
    moment `last_at`; while it starts, of what is told meanwhile."""

    observation: Observation | None = None
    task: asyncio.Task[None] | None = None
    last: DeviceResponse | None = None
    last_at: float = 0.0

    def tried(self) -> None:
        """The device is asked (again): what was told before is older than what it answers."""
        self.last = None

    def told(self, value: DeviceResponse, at: float) -> bool:
        """A value came at this moment; whether it is the newest."""
        if at < self.last_at:
            return False
        self.last, self.last_at = value, at
        return True

    def begun(self, observation: Observation, answer: DeviceResponse) -> bool:
        """It runs from now on; whether the answer that it began with is the newest value, and not one told before."""
        self.observation, self.task = observation, None
        if self.last is not None and (not isinstance(observation, Dated) or self.last_at >= observation.began):
            return False
        self.last = None if answer.status == NO_VALUE_YET else answer
        if isinstance(observation, Dated):
            self.last_at = observation.began
        return self.last is not None
