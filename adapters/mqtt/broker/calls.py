"""Calls under way at a broker: out as messages, back as answers, each tied to its call, its device and its topic.

Everything goes out with QoS 0, so that no broker keeps it for a device that is away, or gives it to one twice: the hub
keeps calls, and sends again what may be sent again. By MQTT 5 it expires as well, for brokers that keep even that.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from adapters.mqtt import wire
from adapters.mqtt.broker.client import Message
from adapters.mqtt.broker.device import BrokerDevice
from adapters.mqtt.broker.devices import Devices
from adapters.mqtt.broker.late import LateAnswers
from adapters.mqtt.broker.link import Link
from adapters.mqtt.broker.way import Answer, Sending, Way
from hub.ports.adapter import (
    AdapterContext,
    Busy,
    Delivery,
    DeviceRequest,
    DeviceResponse,
    DeviceTimeout,
    NotConnected,
)

SAFE = frozenset({"GET", "FETCH"})
"""Methods that change nothing: nobody minds when they are carried out late."""
MARGIN = 2
"""Seconds that must be left for what changes something, where the broker may keep it for a device that is away."""
READ = 4 << 20
"""Bytes of an answer that is too large up to which it is read all the same, for the call that it ends."""


class _Waiting:
    """A message without an answer yet."""

    __slots__ = ("answer", "device", "place", "sending", "sent")

    def __init__(self, device: BrokerDevice, sending: Sending) -> None:
        self.device = device
        self.sending = sending
        self.sent = False
        self.place = 0
        self.answer: asyncio.Future[DeviceResponse] = asyncio.get_running_loop().create_future()


class Calls:
    """All calls under way at one broker."""

    def __init__(
        self, ctx: AdapterContext, link: Link, way: Way, devices: Devices, *, window: int, total: int, most: int,
        expires: bool, keeps: bool, spawn: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:  # fmt: skip
        self._ctx = ctx
        self._link = link
        self._way = way
        self._devices = devices
        self._window = window
        self._total = total
        self._most = most
        self._expires = expires
        self._keeps = keeps
        self._waiting: dict[str, _Waiting] = {}
        self._late = LateAnswers(ctx, devices, window=window, pause=link.pause, spawn=spawn)
        self._ignored = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def ignored(self) -> int:
        """Answers that were not wanted."""
        return self._ignored + self._late.ignored

    @property
    def shed(self) -> int:
        """Late answers with QoS 0 for which there was no place."""
        return self._late.shed

    def free(self, device: BrokerDevice | None) -> int:
        """How many more calls a device takes now."""
        if not self._link.writable or len(self._waiting) >= self._total:
            return 0
        return self._window if device is None else max(0, self._window - device.calls)

    # -- out ------------------------------------------------------------------------------------

    async def call(self, req: DeviceRequest, sending: Sending) -> DeviceResponse:
        """Send one message and wait for its answer, until the deadline."""
        device = self._devices.at(req.device)
        if self.free(device) <= 0 or sending.id in self._waiting:
            raise Busy("the device takes no further call now", delivery=Delivery.NOT_SENT)
        waiting = self._waiting[sending.id] = _Waiting(device, sending)
        device.calls += 1
        device.asked(sending.id)
        if sending.needs is not None:
            self._link.need(sending.needs.topic)
        timer = self._ctx.clock.call_at(req.deadline, self._expire, waiting)
        try:
            if sending.needs is not None and not self._link.hears(sending.needs.topic):
                await self._joined(waiting)
            if not waiting.answer.done():
                self._publish(req, waiting)
            return await waiting.answer
        except asyncio.CancelledError:
            if waiting.answer.done() and not waiting.answer.cancelled() and waiting.answer.exception() is None:
                # It came while its caller left: what the hub still wants of it, the hub knows.
                response = replace(waiting.answer.result(), held=None)
                self._late.left(sending.id, req.call_id, req.device, response)
            raise
        finally:
            timer.cancel()
            device.calls -= 1
            del self._waiting[sending.id]
            if sending.needs is not None:
                self._link.spare(sending.needs.topic)
            waiting.answer.cancel()

    async def _joined(self, waiting: _Waiting) -> None:
        """Listen to where the answer will come, or see the call end before."""
        assert waiting.sending.needs is not None
        joining = asyncio.ensure_future(self._link.join(waiting.sending.needs))
        try:
            waited: set[asyncio.Future[Any]] = {joining, waiting.answer}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if joining.done():
                joining.result()
        finally:
            if not joining.done():
                joining.cancel()
                await asyncio.gather(joining, return_exceptions=True)

    def _publish(self, req: DeviceRequest, waiting: _Waiting) -> None:
        sending, properties = waiting.sending, waiting.sending.properties
        if self._expires:
            # In whole seconds, rounded down, and one less, since brokers that count in whole seconds keep a message for
            # up to one more (mosquitto): a command rather dies too early than runs after its caller was told. There is
            # nothing less than a second, so what must not run late goes out only while that is soon enough: whether or
            # not it may be repeated, a value that is set late may undo a newer one.
            left = math.floor(req.deadline - self._ctx.clock.monotonic()) - 1
            if left < 1 and self._keeps and req.method not in SAFE:
                why = f"less than {MARGIN} seconds were left, and the broker may keep it for longer"
                raise DeviceTimeout(why, delivery=Delivery.NOT_SENT)
            properties = {**properties, "message_expiry_interval": min(max(1, left), 0xFFFF_FFFF)}
        self._link.publish(sending.topic, sending.payload, properties=properties)
        waiting.sent = True
        waiting.place = self._link.written

    def _expire(self, waiting: _Waiting) -> None:
        if waiting.answer.done():
            return
        sent = Delivery.MAYBE if waiting.sent else Delivery.NOT_SENT
        waiting.answer.set_exception(DeviceTimeout("no answer", delivery=sent))
        if waiting.sent:
            self._link.purge(waiting.place)

    def fail(self, why: str, device: BrokerDevice | None = None) -> None:
        """What waits, of one device or of all, has no answer."""
        for waiting in list(self._waiting.values()):
            if device in (None, waiting.device) and not waiting.answer.done():
                sent = Delivery.MAYBE if waiting.sent else Delivery.NOT_SENT
                waiting.answer.set_exception(NotConnected(why, delivery=sent))

    # -- in -------------------------------------------------------------------------------------

    def hear(self, message: Message) -> bool:
        """Take in a message if it is an answer."""
        answer = self._way.answer(message) if len(message.payload) <= max(self._most, READ) else None
        if answer is None:
            return False
        if message.retained:
            self._ignored += 1  # an answer to something long ago
            message.acknowledge()
        else:
            self._answered(answer, message)
        return True

    def _answered(self, answer: Answer, message: Message) -> None:
        waiting = self._waiting.get(answer.id)
        if (
            waiting is not None
            and waiting.sent
            and waiting.device.address == answer.device
            and waiting.sending.purpose == answer.purpose
            and not waiting.answer.done()
        ):
            waiting.device.heard(waiting.sending.id)
            self._devices.heard(answer.device, called=True)
            response = self._response(answer, message, waiting.sending.said)
            if message.qos:
                response = replace(response, held=self._late.in_time(answer.id, message))
            waiting.answer.set_result(response)
            return
        # The attempt has failed a moment ago: the answer is late, and ends the call if nothing else did. Or it came
        # twice.
        tied = answer.id, answer.device, answer.purpose
        # Before a hub had a lasting name, or wrote it into its ids, it asked without it.
        call_id = wire.call_of(*tied, self._way.hub) or wire.call_of(*tied)
        if call_id is None:
            self._ignored += 1  # forged, meant for another device or hub, or an answer to nothing
            message.acknowledge()
        else:
            response = self._response(answer, message, None)
            self._late.hear(answer.id, call_id, answer.device, message, response)

    def _response(self, answer: Answer, message: Message, said: Any) -> DeviceResponse:
        if len(message.payload) > self._most:
            return DeviceResponse(502, native={"message_id": answer.id, "error": "ANSWER_TOO_LARGE"})
        return self._way.response(answer, said)
