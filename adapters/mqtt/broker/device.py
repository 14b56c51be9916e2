"""One device behind a broker: whether it is there, what of that the hub was told, its calls, what it waits to tell."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from hub.model.device import Presence
from hub.ports.adapter import ObserveSpec
from hub.ports.clock import Timer

if TYPE_CHECKING:
    from adapters.mqtt.broker.inbox import Held

REMEMBERED = 64


class PostedObservation:
    """An observation of what a device tells by itself; nothing has to be asked of the device."""

    __slots__ = ("_device", "active", "spec")

    def __init__(self, spec: ObserveSpec, device: BrokerDevice) -> None:
        self.spec = spec
        self._device = device
        self.active = True

    async def cancel(self) -> None:
        """Stop it; a second cancel is harmless."""
        self.active = False
        if self._device.observations.get(self.spec.target) is self:
            del self._device.observations[self.spec.target]


class BrokerDevice:
    """What is known of an address. `presence` is what was heard last on this connection, `told` what the hub knows.

    `confirmed`: the hub has taken something of it, so it has such a device. `tries` failed to tell the hub, and
    `retry` is the next one; `settled` is awaited by those who want to know whether the hub knows it then.
    """

    __slots__ = (
        "_heard", "address", "calls", "confirmed", "inbox", "observations", "presence", "registered", "retry",
        "settled", "told", "tries", "turned_away",
    )  # fmt: skip

    def __init__(self, address: str) -> None:
        self.address = address
        self.presence = Presence.UNKNOWN
        self.told = Presence.UNKNOWN
        self.registered = self.confirmed = False
        self.turned_away = False
        self.tries = 0
        self.retry: Timer | None = None
        self.settled: asyncio.Future[None] | None = None
        self.calls = 0
        self.observations: dict[str, PostedObservation] = {}
        self.inbox: deque[Held] | None = None
        self._heard: OrderedDict[str, None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything of it."""
        return not (self.calls or self.observations or self.turned_away or self.inbox is not None or self.retry)

    def heard(self, id: str) -> bool:
        """Remember that an answer came; True if one had come before."""
        if self._heard is None:
            self._heard = OrderedDict()
        if id in self._heard:
            return True
        self._heard[id] = None
        if len(self._heard) > REMEMBERED:
            self._heard.popitem(last=False)
        return False

    def asked(self, id: str) -> None:
        """A call goes out (again): its next answer is a new one."""
        if self._heard is not None:
            self._heard.pop(id, None)
