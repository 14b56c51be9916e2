"""The stay of one device, or of a gateway with its sub-devices: commands out, answers and messages in.

Commands are pushed without a subscription, as EnOS does. A command's id can be checked without memory, so a late
answer is understood after a restart of the hub and a forged one never.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from adapters.mqtt import topics, wire
from adapters.mqtt.listener import codec
from adapters.mqtt.listener.codec import Publish
from adapters.mqtt.listener.connection import Connection
from adapters.mqtt.listener.registration import Registration
from adapters.mqtt.topics import Name, Topic
from adapters.mqtt.wire import Command
from hub.ports.adapter import (
    AdapterContext,
    BadRequest,
    Busy,
    Delivery,
    DeviceEvent,
    DeviceResponse,
    DeviceTimeout,
    EventKind,
    NotConnected,
)

Request = Callable[["Session", Registration, Topic, Publish], Awaitable[None]]


class _Waiting:
    """A command without an answer yet."""

    __slots__ = ("answer", "command", "registration", "sent")

    def __init__(self, registration: Registration, command: Command) -> None:
        self.registration = registration
        self.command = command
        self.answer: asyncio.Future[DeviceResponse] = asyncio.get_running_loop().create_future()
        self.sent = False


class Session:
    """One admitted connection. `routes` are the devices behind it: its own, and those a gateway logged in.

    Until `welcome` commands wait: nothing may go out before the CONNACK.
    """

    __slots__ = ("_ctx", "_early", "_request", "_waiting", "_window", "connection", "ended", "ignored", "own", "routes",
                 "unwatch", "welcomed")  # fmt: skip

    def __init__(
        self, connection: Connection, own: Registration | None, ctx: AdapterContext, window: int, request: Request
    ) -> None:
        self.connection = connection
        self.own = own
        self.routes: dict[Name, Registration] = {} if own is None else {own.name: own}
        self.ended = False
        self.welcomed = False
        self.ignored = 0
        self.unwatch: Callable[[], None] = _nothing
        self._ctx = ctx
        self._window = window
        self._request = request
        self._waiting: dict[str, _Waiting] = {}
        self._early: list[tuple[_Waiting, bytes]] = []

    # -- life -----------------------------------------------------------------------------------

    def welcome(self, code: int = codec.ACCEPTED) -> bool:
        """Say that the device may stay, then what waited for that; False when it has left meanwhile."""
        if not self.connection.send(codec.encode(codec.ConnAck(code))):
            return False
        self.welcomed = True
        early, self._early = self._early, []
        for waiting, data in early:
            if not waiting.answer.done():
                waiting.sent = self.connection.send(data)
        return True

    def lost(self, why: str) -> None:
        """The connection is over: what waits has no answer."""
        if self.ended:
            return
        self.ended = True
        self._early.clear()
        for waiting in list(self._waiting.values()):
            self._fail(waiting, why)

    def forget(self, registration: Registration, why: str) -> None:
        """A sub-device is behind this connection no longer."""
        if self.routes.get(registration.name) is registration:
            del self.routes[registration.name]
        for waiting in [one for one in self._waiting.values() if one.registration is registration]:
            self._fail(waiting, why)

    def dismiss(self, registration: Registration) -> None:
        """The hub does not have the device any more: its connection ends, a gateway's goes on without it."""
        if registration is self.own:
            self.connection.close("the hub has no such device any more")
        else:
            self.forget(registration, "the hub has no such device any more")

    def awake(self) -> None:
        """The device reads again: its calls may go on."""
        now = self._ctx.clock.monotonic()
        for registration in self.routes.values():
            self._ctx.emit(DeviceEvent(EventKind.AWAKE, registration.address, now))

    @staticmethod
    def _fail(waiting: _Waiting, why: str) -> None:
        if not waiting.answer.done():
            sent = Delivery.MAYBE if waiting.sent else Delivery.NOT_SENT
            waiting.answer.set_exception(NotConnected(why, delivery=sent))

    # -- calls ----------------------------------------------------------------------------------

    def free(self, registration: Registration) -> int:
        """How many more calls the device takes now."""
        if self.ended or not self.connection.writable:
            return 0
        return max(0, self._window - registration.calls)

    async def call(self, registration: Registration, call_id: str, command: Command, deadline: float) -> DeviceResponse:
        """Send one command and wait for its answer, until the deadline."""
        if self.free(registration) <= 0:
            raise Busy("the device takes no further call now", delivery=Delivery.NOT_SENT)
        id = wire.message_id(call_id, registration.address, command.purpose)
        if id in self._waiting:
            raise Busy("the device works on this very call", delivery=Delivery.NOT_SENT)
        registration.asked(id)
        registration.calls += 1
        try:
            return await self._ask(registration, id, command, deadline)
        finally:
            registration.calls -= 1

    async def read(self, registration: Registration, point: str, deadline: float) -> DeviceResponse:
        """Ask for the present value of a point, beside the calls."""
        id = f"o.{secrets.token_hex(8)}"
        return await self._ask(registration, id, Command(topics.GET, [point], point), deadline)

    async def _ask(self, registration: Registration, id: str, command: Command, deadline: float) -> DeviceResponse:
        try:
            body = wire.request(id, command.purpose, command.params)
        except TypeError as failure:
            raise BadRequest("the arguments cannot be written as JSON", delivery=Delivery.NOT_SENT) from failure
        data = codec.encode(Publish(topics.command(registration.name, command.purpose), body))
        waiting = self._waiting[id] = _Waiting(registration, command)
        timer = self._ctx.clock.call_at(deadline, _expire, waiting)
        try:
            if not self.welcomed:
                self._early.append((waiting, data))
            elif self.connection.send(data):
                waiting.sent = True
            else:
                raise NotConnected("the connection is ending", delivery=Delivery.NOT_SENT)
            return await waiting.answer
        except asyncio.CancelledError:
            if waiting.answer.done() and not waiting.answer.cancelled() and waiting.answer.exception() is None:
                _hold(waiting.answer.result())  # it came while its caller left
            raise
        finally:
            timer.cancel()
            del self._waiting[id]
            waiting.answer.cancel()

    def tell(self, device: Name, purpose: str, body: bytes, *, session: bool = False) -> None:
        """Publish something to a device, without an answer."""
        self.connection.send(codec.encode(Publish(topics.command(device, purpose, session=session), body)))

    # -- in -------------------------------------------------------------------------------------

    def take(self, message: Publish) -> None:
        """A message of the device. QoS 1 is acknowledged once the hub holds what it says."""
        topic = topics.parse(message.topic)
        registration = None if topic is None else self.routes.get(topic.device)
        if topic is None or registration is None:
            self.ignored += 1
            if topic is not None and not topic.reply:
                self._refuse(message)
            self.acknowledge(message)
        elif topic.reply:
            self._answered(registration, topic, message)
        else:
            self.connection.later(lambda: self._request(self, registration, topic, message))

    def answer(self, message: Publish, body: bytes) -> None:
        """Answer a request of the device; unasked, like everything here."""
        self.connection.send(codec.encode(Publish(message.topic + topics.REPLY, body)))

    def acknowledge(self, message: Publish) -> None:
        """The hub holds the message."""
        if message.qos:
            self.connection.send(codec.encode(codec.PubAck(message.packet_id)))

    def grant(self, filter: str, qos: int) -> int:
        """The answer to one filter of a SUBSCRIBE: its own topics, which it gets anyway."""
        owner = topics.owner_of(filter)
        return min(qos, 1) if owner is not None and owner in self.routes else codec.REFUSED_FILTER

    def _refuse(self, message: Publish) -> None:
        self.answer(message, wire.answer(wire.id_of(message.payload) or "", wire.NOT_ALLOWED, "topic not allowed"))

    def _answered(self, registration: Registration, topic: Topic, message: Publish) -> None:
        body = wire.object_of(message.payload)
        id = wire.id_of(message.payload) if body is None else body.get("id")
        waiting = self._waiting.get(id) if isinstance(id, str) else self._only(registration, topic, body)
        if waiting is not None and waiting.registration is registration and waiting.command.purpose == topic.purpose:
            if not waiting.answer.done():
                response = wire.response(waiting.command, body)
                if isinstance(id, str):
                    registration.heard(id)  # not before it is understood: it may come again
                waiting.answer.set_result(replace(response, held=lambda: self.acknowledge(message)))
            else:
                self.acknowledge(message)  # it came twice
            return
        call_id = wire.call_of(id, registration.address, topic.purpose) if isinstance(id, str) else None
        if call_id is not None:
            late = wire.response(wire.asked(topic.purpose, body), body)
            if not registration.heard(str(id)):
                self.connection.later(lambda: self._late(registration, call_id, late, message))
                return
        self.ignored += 1  # forged, meant for another device, heard before, or an answer to nothing
        self.acknowledge(message)

    def _only(self, registration: Registration, topic: Topic, body: dict[str, Any] | None) -> _Waiting | None:
        """The one command that an answer without any readable id can be meant for."""
        if body is not None:
            return None
        fitting = [
            waiting
            for waiting in self._waiting.values()
            if waiting.registration is registration and waiting.command.purpose == topic.purpose and waiting.sent
        ]
        return fitting[0] if len(fitting) == 1 else None

    async def _late(
        self, registration: Registration, call_id: str, response: DeviceResponse, message: Publish
    ) -> None:
        attrs = {"call_id": call_id, "response": response}
        now = self._ctx.clock.monotonic()
        await self._ctx.accept(DeviceEvent(EventKind.LATE_RESPONSE, registration.address, now, attrs=attrs))
        self.acknowledge(message)


def _nothing() -> None:
    """The unwatch where no key is watched."""


def _expire(waiting: _Waiting) -> None:
    if not waiting.answer.done():
        sent = Delivery.MAYBE if waiting.sent else Delivery.NOT_SENT
        waiting.answer.set_exception(DeviceTimeout("no answer", delivery=sent))


def _hold(response: DeviceResponse) -> None:
    if response.held is not None:
        response.held()
