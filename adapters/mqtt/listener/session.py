"""The stay of one device, or of a gateway with its sub-devices: commands out, answers and messages in.

Commands are pushed without a subscription, as EnOS does. A command's id can be checked without memory, so a late
answer is understood after a restart of the hub and a forged one never.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from adapters.mqtt import topics, wire
from adapters.mqtt.listener import codec
from adapters.mqtt.listener.codec import Publish
from adapters.mqtt.listener.connection import Connection
from adapters.mqtt.listener.registration import Registration
from adapters.mqtt.listener.settings import MqttSettings
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

Request = Callable[["Session", Registration, Topic, Publish, float], Awaitable[None]]
"""A request of a device, and when it came."""

Behind = Callable[["Session", Name], Registration | None]
"""A device that a gateway may bring an answer of before it has logged it in again."""


class _Waiting:
    """A command without an answer yet; `answered` is when that came."""

    __slots__ = ("answer", "answered", "command", "id", "message", "registration", "sent")

    def __init__(self, id: str, registration: Registration, command: Command) -> None:
        self.id = id
        self.registration = registration
        self.command = command
        self.answer: asyncio.Future[DeviceResponse] = asyncio.get_running_loop().create_future()
        self.answered = 0.0
        self.message: Publish | None = None
        self.sent = False


class Session:
    """One admitted connection. `routes` are the devices behind it: its own, and those a gateway logged in.

    Until `welcome` commands wait: nothing may go out before the CONNACK.
    """

    __slots__ = ("_behind", "_ctx", "_early", "_most", "_request", "_waiting", "_window", "connection", "ended",
                 "ignored", "own", "routes", "unwatch", "welcomed")  # fmt: skip

    def __init__(
        self, connection: Connection, own: Registration | None, ctx: AdapterContext, settings: MqttSettings,
        request: Request, behind: Behind,
    ) -> None:
        self.connection = connection
        self.own = own
        self.routes: dict[Name, Registration] = {} if own is None else {own.name: own}
        self.ended = False
        self.welcomed = False
        self.ignored = 0
        self.unwatch: Callable[[], None] = _nothing
        self._ctx = ctx
        self._window = settings.window
        self._most = settings.max_packet
        self._request = request
        self._behind = behind
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

    def enter(self, name: Name, registration: Registration) -> None:
        """A device is behind this connection from now on, by this name only."""
        self._unroute(registration)
        self.routes[name] = registration

    def _unroute(self, registration: Registration) -> None:
        # By what it is and not by its name, which another connection may have changed meanwhile.
        for name in [name for name, known in self.routes.items() if known is registration]:
            del self.routes[name]

    def forget(self, registration: Registration, why: str) -> None:
        """A sub-device is behind this connection no longer."""
        self._unroute(registration)
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
        registration.answers.asked(id)
        registration.calls += 1
        try:
            return (await self._ask(registration, id, command, deadline))[0]
        finally:
            registration.calls -= 1

    async def read(self, registration: Registration, point: str, deadline: float) -> tuple[DeviceResponse, float]:
        """Ask for the present value of a point, beside the calls; with it comes when that was said."""
        id = f"o.{secrets.token_hex(8)}"
        response, answered = await self._ask(registration, id, Command(topics.GET, [point], point), deadline)
        if response.held is not None:
            response.held()  # a value of now is worth nothing later: nobody keeps it
        return response, answered

    async def _ask(
        self, registration: Registration, id: str, command: Command, deadline: float
    ) -> tuple[DeviceResponse, float]:
        try:
            body = wire.request(id, command.purpose, command.params)
        except TypeError as failure:
            raise BadRequest("the arguments cannot be written as JSON", delivery=Delivery.NOT_SENT) from failure
        data = codec.encode(Publish(topics.command(registration.name, command.purpose), body))
        waiting = self._waiting[id] = _Waiting(id, registration, command)
        timer = self._ctx.clock.call_at(deadline, _expire, waiting)
        try:
            if not self.welcomed:
                self._early.append((waiting, data))
            elif self.connection.send(data):
                waiting.sent = True
            else:
                raise NotConnected("the connection is ending", delivery=Delivery.NOT_SENT)
            return await waiting.answer, waiting.answered
        except asyncio.CancelledError:
            if waiting.message is not None:
                self._left(waiting, id, waiting.message)
            raise
        finally:
            timer.cancel()
            del self._waiting[id]
            waiting.answer.cancel()

    def _left(self, waiting: _Waiting, id: str, message: Publish) -> None:
        """An answer came while its caller left: the call may be open still."""
        registration = waiting.registration
        registration.answers.failed(id)
        if wire.call_of(id, registration.address, waiting.command.purpose) is None:
            self.acknowledge(message)
            return
        self._tell_late(registration, id, waiting.answer.result(), message)

    def tell(self, device: Name, purpose: str, body: bytes, *, session: bool = False) -> None:
        """Publish something to a device, without an answer."""
        self.connection.send(codec.encode(Publish(topics.command(device, purpose, session=session), body)))

    def order(self, gateway: Name, verb: str, sub: Name) -> None:
        """Tell a gateway that a sub-device was enabled, disabled or deleted; what it answers is not waited for."""
        purpose = f"combine/{verb}"
        body = wire.request(secrets.token_hex(8), purpose, [{"productKey": sub[0], "deviceKey": sub[1]}])
        self.tell(gateway, purpose, body, session=True)

    # -- in -------------------------------------------------------------------------------------

    def take(self, message: Publish) -> None:
        """A message of the device. QoS 1 is acknowledged once the hub holds what it says."""
        topic = topics.parse(message.topic)
        registration = None if topic is None else self.routes.get(topic.device)
        if registration is None and topic is not None and topic.reply:
            # Devices tell an answer again right after the welcome, before anybody has logged in again.
            registration = self._behind(self, topic.device)
        if topic is None or registration is None:
            self.ignored += 1
            if topic is not None and not topic.reply:
                self._refuse(message)
            self.acknowledge(message)
        elif topic.reply:
            self._answered(registration, topic, message)
        else:
            came = self._ctx.clock.monotonic()
            self.connection.later(lambda: self._request(self, registration, topic, message, came))

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
        body = wire.object_of(message.payload) if len(message.payload) <= self._most else None
        id = wire.id_of(message.payload) if body is None else body.get("id")
        waiting = self._waiting.get(id) if isinstance(id, str) else self._only(registration, topic, body)
        fits = waiting is not None and waiting.registration is registration and not waiting.answer.done()
        if waiting is not None and fits and waiting.command.purpose == topic.purpose:
            response = wire.response(waiting.command, body, waiting.id)
            if isinstance(id, str):
                registration.answers.begin(id)  # not before it is understood: it may come again
            waiting.message, waiting.answered = message, self._ctx.clock.monotonic()
            held = functools.partial(self._held, registration, id, message)
            waiting.answer.set_result(replace(response, held=held))
        elif isinstance(id, str) and wire.call_of(id, registration.address, topic.purpose) is not None:
            self._tell_late(registration, id, wire.response(wire.asked(topic.purpose, body), body, id), message)
        else:
            self.ignored += 1  # forged, meant for another device, or an answer to nothing
            self.acknowledge(message)

    def _held(self, registration: Registration, id: Any, message: Publish) -> None:
        self.acknowledge(message)
        if isinstance(id, str):
            registration.answers.held(id)

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

    def _tell_late(self, registration: Registration, id: str, response: DeviceResponse, message: Publish) -> None:
        """Give the hub an answer that no attempt waits for; one that it holds, or is being given, only once."""

        def again(taken: bool) -> None:
            if taken:
                self._came_again(message)
            else:
                self._tell_late(registration, id, response, message)

        async def late() -> None:
            # What was first may have been taken, or be under way, since this copy of it came.
            if registration.answers.taken(id):
                self._came_again(message)
            elif not registration.answers.under_way(id, again):
                await self._late(registration, id, response, message)

        if registration.answers.taken(id):
            self._came_again(message)
        elif not registration.answers.under_way(id, again):
            self.connection.later(late)

    def _came_again(self, message: Publish) -> None:
        self.ignored += 1
        self.acknowledge(message)

    async def _late(self, registration: Registration, id: str, response: DeviceResponse, message: Publish) -> None:
        call_id, now = id.rpartition(".")[0], self._ctx.clock.monotonic()
        attrs = {"call_id": call_id, "response": response}
        registration.answers.begin(id)
        try:
            await self._ctx.accept(DeviceEvent(EventKind.LATE_RESPONSE, registration.address, now, attrs=attrs))
        except BaseException:
            registration.answers.failed(id)
            raise
        self._held(registration, id, message)


def _nothing() -> None:
    """The unwatch where no key is watched."""


def _expire(waiting: _Waiting) -> None:
    if not waiting.answer.done():
        if waiting.sent:
            failure = DeviceTimeout("no answer", delivery=Delivery.MAYBE)
        else:
            failure = DeviceTimeout("the device was not welcomed in time", delivery=Delivery.NOT_SENT)
        waiting.answer.set_exception(failure)
