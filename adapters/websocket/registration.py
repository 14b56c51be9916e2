"""What the adapter remembers of a device from one connection to the next.

Nothing here has to survive the hub: after a restart a device simply registers again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from hub.ports.adapter import ObserveSpec

if TYPE_CHECKING:
    from adapters.websocket.session import Session

REMEMBERED = 64


class DialInObservation:
    """An observation that a device keeps for the hub; it outlives a lost connection, not a restart of the device.
    Implements `ports.adapter.Observation` and `ports.abilities.Dated`."""

    __slots__ = ("active", "began", "id", "registration", "spec")

    def __init__(self, spec: ObserveSpec, id: str, registration: Registration) -> None:
        self.spec = spec
        self.id = id
        self.registration = registration
        self.active = False
        self.began = 0.0

    async def cancel(self) -> None:
        """Stop it; a second cancel is harmless. A device that is away is told when it next notifies."""
        if self.registration.observations.pop(self.id, None) is not None:
            self.active = False
            if self.registration.session is not None:
                self.registration.session.cancel(self.id)


class Registration:
    """One device: its present life and connection, its observations, the answers that were heard already.

    `reporting` keeps the events of its coming and going in order, whichever connection they are about.
    """

    __slots__ = ("_heard", "address", "asleep", "boot", "last_event", "observations", "offline_since", "reporting",
                 "session")

    def __init__(self, address: str) -> None:
        self.address = address
        self.boot: str | None = None
        self.session: Session | None = None
        self.asleep = False
        self.last_event = -1
        self.offline_since: float | None = None
        self.observations: dict[str, DialInObservation] = {}
        self.reporting = asyncio.Lock()
        self._heard: OrderedDict[str, None] = OrderedDict()

    def heard(self, token: str) -> bool:
        """Remember that an answer came; True if one had come before."""
        if token in self._heard:
            return True
        self._heard[token] = None
        if len(self._heard) > REMEMBERED:
            self._heard.popitem(last=False)
        return False

    def asked(self, token: str) -> None:
        """A call goes out (again): its next answer is a new one."""
        self._heard.pop(token, None)

    def drop_observations(self) -> list[ObserveSpec]:
        """Forget all observations; returns what was observed, for the hub to be told."""
        dropped = list(self.observations.values())
        self.observations.clear()
        for observation in dropped:
            observation.active = False
        return [observation.spec for observation in dropped]
