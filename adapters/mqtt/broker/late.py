"""Answers that come when nobody waits for them any more: after their attempt, or after a restart of the hub, or once
more, on another connection, while the hub still writes down what the first one said.

Whoever is at the broker can make up answers to calls that there are not. With QoS 0 there are so many places for those
that wait for the disk, shared so that no device takes those of others; what has no place is shed. With QoS 1 nothing is
refused: while too much waits, nothing more is read.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.device import BrokerDevice
from adapters.mqtt.broker.devices import Devices
from adapters.mqtt.broker.final import is_final
from hub.model.errors import HubError
from hub.ports.adapter import AdapterContext, DeviceEvent, DeviceResponse, EventKind

MOST_LATE = 1000
"""Late answers that wait for the disk at a time: so many with QoS 0, and so many with QoS 1 until reading pauses."""
SHARE = 16
"""Those with QoS 0 of one device, at least: a device that takes more calls at a time has as many."""
PAUSE = 1.0

log = logging.getLogger("hub.adapter.mqtt-broker")


class LateAnswers:
    """All late answers at one broker. `window` is how many calls a device takes at a time, `pause` stops the reading of
    the connection that answers come by, or lets it go on."""

    def __init__(
        self, ctx: AdapterContext, devices: Devices, *, window: int, pause: Callable[[bool], None],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:  # fmt: skip
        self._ctx = ctx
        self._devices = devices
        self._share = max(SHARE, window)
        self._pause = pause
        self._spawn = spawn
        # What waits for the disk, by the id of the answer: all that is to be acknowledged when it is there.
        self._waiting: dict[str, list[Message]] = {}
        # The same of those that came in time, and that the core has been given.
        self._in_time: dict[str, list[Message]] = {}
        self._places: Counter[str] = Counter()
        self._taken = self._by_strangers = self._certain = 0
        self._paused = False
        self.ignored = 0
        self.shed = 0

    def in_time(self, id: str, message: Message) -> Callable[[], None]:
        """An answer with QoS 1 came while its call waited for it. What is returned is to be called once the hub holds
        it: until then it is acknowledged on no connection, however often the broker sends it."""
        messages = self._in_time[id] = [message]

        def held() -> None:
            if self._in_time.get(id) is messages:
                del self._in_time[id]
            self._less(len(messages) - 1)
            for one in messages:
                one.acknowledge()

        return held

    def left(self, id: str, call_id: str, address: str, response: DeviceResponse) -> None:
        """Who waited for an answer that came in time did not stay to take it: the hub is told as of any late one."""
        messages = self._in_time.pop(id, None)
        if messages is None:
            return
        self._more()
        if id in self._waiting:
            self._waiting[id] += messages
        else:
            self._waiting[id] = messages
            device = self._devices.offered(address)
            self._spawn(self._told(id, self._event(address, call_id, response), device), "a late answer")

    def hear(self, id: str, call_id: str, address: str, message: Message, response: DeviceResponse) -> None:
        """Take in an answer. It is acknowledged once the hub holds it, or will never want it."""
        again = self._waiting.get(id) or self._in_time.get(id)
        if again is not None:
            # The broker sends it again after a break, or the device does: the hub does not hold it yet.
            if message.qos:
                again.append(message)
                self._more()
            else:
                self.ignored += 1
            return
        known = self._devices.find(address)
        stranger = known is None or not known.confirmed
        if not message.qos and not self._room(address, stranger):
            self.shed += 1
            return
        # Where too many are known, nothing is remembered of this one; it is told all the same.
        device = self._devices.offered(address)
        if device is not None and device.heard(id):
            self.ignored += 1
            message.acknowledge()
            return
        self._waiting[id] = [message]
        event = self._event(address, call_id, response)
        if message.qos:
            self._more()
            self._spawn(self._told(id, event, device), "a late answer")
        else:
            self._taken += 1
            self._by_strangers += stranger
            self._places[address] += 1
            self._spawn(self._told_from(address, stranger, id, event, device), "a late answer")

    def _event(self, address: str, call_id: str, response: DeviceResponse) -> DeviceEvent:
        attrs = {"call_id": call_id, "response": response}
        return DeviceEvent(EventKind.LATE_RESPONSE, address, self._ctx.clock.monotonic(), attrs=attrs)

    # -- places ---------------------------------------------------------------------------------

    def _room(self, address: str, stranger: bool) -> bool:
        """Whether one more with QoS 0 has a place. Names that the hub has not heard of yet, which anybody can make up,
        have half of them together."""
        if self._taken >= MOST_LATE or self._places[address] >= self._share:
            return False
        return not stranger or self._by_strangers < MOST_LATE // 2

    async def _told_from(
        self, address: str, stranger: bool, id: str, event: DeviceEvent, device: BrokerDevice | None
    ) -> None:
        try:
            await self._told(id, event, device)
        finally:
            self._taken -= 1
            self._by_strangers -= stranger
            self._places[address] -= 1
            if not self._places[address]:
                del self._places[address]

    def _more(self) -> None:
        self._certain += 1
        if self._certain >= MOST_LATE and not self._paused:
            self._paused = True
            self._pause(True)

    def _less(self, messages: int) -> None:
        self._certain -= messages
        if self._paused and self._certain <= MOST_LATE // 2:
            self._paused = False
            self._pause(False)

    # -- telling --------------------------------------------------------------------------------

    async def _told(self, id: str, event: DeviceEvent, device: BrokerDevice | None) -> None:
        try:
            await self._held(event)
        except Exception:
            # It would be so again, and the broker sends only so many ahead of their acknowledgement.
            log.exception("a late answer could not be dealt with")
        finally:
            messages = self._waiting.pop(id)
            self._less(sum(1 for message in messages if message.qos))
            if device is not None:
                self._devices.leave(device)
        for message in messages:
            message.acknowledge()

    async def _held(self, event: DeviceEvent) -> None:
        """Return once the hub holds it, or will never want it. While it cannot, it waits."""
        clock = self._ctx.clock
        while True:
            try:
                await self._ctx.accept(event)
                return
            except HubError as failure:
                if is_final(failure):
                    self.ignored += 1
                    log.info("a late answer was not taken: %s", failure)
                    return
            await clock.sleep_until(clock.monotonic() + PAUSE)
