"""One connection of one admitted device: frames out in order, frames in judged one by one.

A call's frame waits in the outbox until the transport takes it; that it never left is then a fact and not a guess.
Events of the device go through the hand-over, beside the reading, so that answers to calls do not wait for the disk.
"""

from __future__ import annotations

import logging
import secrets

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect

from adapters.websocket.calling import call_frame, unanswered_frame
from adapters.websocket.coding import Subprotocol
from adapters.websocket.frame import (
    Ack,
    Bye,
    Cancel,
    Error,
    Event,
    Frame,
    Notify,
    Observe,
    Ping,
    Pong,
    Result,
    Unknown,
    Welcome,
)
from adapters.websocket.handover import Handover
from adapters.websocket.heartbeat import Heartbeat
from adapters.websocket.inbound import event_of, late_answer, notification_of, parse, response_of
from adapters.websocket.outbox import ROOM, Outbox, Outgoing
from adapters.websocket.questions import Questions
from adapters.websocket.rate import Rate
from adapters.websocket.registration import DialInObservation, Registration
from adapters.websocket.settings import WebSocketSettings
from adapters.websocket.token import call_of_token
from adapters.websocket.wire import encode
from hub.model.errors import UnknownDevice
from hub.ports.adapter import (
    AdapterContext,
    BadRequest,
    Busy,
    Delivery,
    DeviceEvent,
    DeviceRequest,
    DeviceResponse,
    EventKind,
    NotConnected,
    ObserveSpec,
)

FAREWELL = 2.0
NOT_ADMITTED = "not admitted any more"

log = logging.getLogger("hub.adapter.websocket")


class Session:
    """From HELLO to the end of the socket. The owner runs `run` and reports coming and going."""

    def __init__(
        self,
        socket: WebSocket,
        coding: Subprotocol,
        registration: Registration,
        ctx: AdapterContext,
        settings: WebSocketSettings,
        window: int,
    ) -> None:
        self.sid = secrets.token_hex(8)
        self.registration = registration
        self.shed = 0
        self.ignored = 0
        self.signed_off = False  # or sent away: its registration is over
        self._socket = socket
        self._coding = coding
        self._ctx = ctx
        self._clock = ctx.clock
        self._settings = settings
        self._window = window
        self._scope = anyio.CancelScope()
        self._farewell: tuple[int, str] | None = None
        self._ended = False
        self._outbox = Outbox()
        self._handover = Handover(registration, ctx, self._acknowledge)
        self._questions = Questions(ctx.clock, self.cancel)
        self._calls = 0
        self._heartbeat = Heartbeat(
            self._clock, settings.heartbeat.total_seconds(), asleep=lambda: registration.asleep,
            ping=lambda silent: self._put(Ping(silent)), lost=lambda: self.close(4008, "no sign of life"),
        )  # fmt: skip
        self._rate = Rate(settings.frames_per_second, ctx.clock)

    # -- life -----------------------------------------------------------------------------------

    async def run(self, resumed: bool) -> None:
        """Welcome the device, unless it was sent away already, and serve it; returns when the connection is over."""
        welcome = Welcome(self.sid, self._heartbeat.beat, self._window, self._settings.max_frame, resumed)
        # The hub may have sent calls from the moment that it knew of the device: they follow the welcome.
        if not self._ended:
            self._outbox.put(encode(welcome, self._coding), first=True)
        self._heartbeat.start()
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    tasks.start_soon(self._hand_over)
                    await self._read()
                    tasks.cancel_scope.cancel()
        finally:
            self.end("the connection was lost")
        for event in self._handover.rest():
            self._ctx.spawn(self._ctx.accept(event), name=f"{self._ctx.name}-late")
        await self._say_goodbye()

    def close(self, code: int, text: str) -> None:
        """End the connection from this side; open calls fail at once."""
        if self._farewell is None and not self._ended:
            self._farewell = (code, text)
        self.end(text)
        self._scope.cancel()

    def dismiss(self) -> None:
        """Send the device away: the hub does not know it any more, so nothing that it told since is acknowledged."""
        self.signed_off = True
        self.close(1008, NOT_ADMITTED)

    def end(self, text: str) -> None:
        """Fail what waits; nothing is sent after this but the farewell."""
        if self._ended:
            return
        self._ended = True
        self._heartbeat.stop()
        self._questions.fail(text)
        self._outbox.give_up()

    async def _say_goodbye(self) -> None:
        if self._farewell is None:
            return
        code, text = self._farewell
        with anyio.CancelScope(shield=True) as scope:
            limit = self._clock.call_at(self._clock.monotonic() + FAREWELL, scope.cancel)
            try:
                # Acknowledgements above all: what they are for is on disk, and nothing else was left to wait.
                await self._outbox.drain(self._send)
                await self._send(encode(Bye(code, text), self._coding))
                await self._socket.close(code, text)
            except (WebSocketDisconnect, RuntimeError):
                pass  # the device was faster
            finally:
                limit.cancel()

    # -- calls ----------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """How many more calls the device takes now."""
        return 0 if self._ended or self.registration.asleep else max(0, self._window - self._calls)

    async def call(self, req: DeviceRequest) -> DeviceResponse:
        """Send one call and wait for its answer, until its deadline."""
        if self.free <= 0:
            raise Busy("the device takes no further call now", delivery=Delivery.NOT_SENT)
        frame = call_frame(req, self.registration.address, self._clock.monotonic())
        self.registration.asked(frame.id)
        self._calls += 1
        try:
            return await self._ask(frame, frame.id, req.deadline)
        finally:
            self._calls -= 1

    async def tell(self, req: DeviceRequest) -> DeviceResponse:
        """Send a call that the device need not answer; returns once the transport has it."""
        if self.free <= 0:
            raise Busy("the device takes no further call now", delivery=Delivery.NOT_SENT)
        outgoing = self._put_data(self._encoded(unanswered_frame(req, self._clock.monotonic())))
        if outgoing is None or not await outgoing.leaves(self._clock, req.deadline):
            raise NotConnected("the connection takes nothing now", delivery=Delivery.NOT_SENT)
        return DeviceResponse(200, native={"sent": True})

    async def observe(self, observation: DialInObservation, deadline: float) -> DeviceResponse:
        """Ask for an observation; its notifications may come before this returns."""
        spec: ObserveSpec = observation.spec
        options = {"params": dict(spec.params)} if spec.params else {}
        return await self._ask(Observe(observation.id, spec.target, options), observation.id, deadline)

    def cancel(self, token: str) -> None:
        """Tell the device that an answer is not wanted any more."""
        self._put(Cancel(token))

    async def _ask(self, frame: Frame, token: str, deadline: float) -> DeviceResponse:
        if token in self._questions:
            raise Busy("the device works on this very call", delivery=Delivery.NOT_SENT)
        outgoing = self._put_data(self._encoded(frame))
        if outgoing is None:
            raise NotConnected("the connection is ending", delivery=Delivery.NOT_SENT)
        return await self._questions.answer(token, outgoing, deadline)

    def _encoded(self, frame: Frame) -> bytes:
        try:
            return encode(frame, self._coding)
        except (TypeError, ValueError, OverflowError) as failure:
            raise BadRequest("the arguments cannot be written in the protocol", delivery=Delivery.NOT_SENT) from failure

    # -- out ------------------------------------------------------------------------------------

    def _put(self, frame: Frame) -> None:
        self._put_data(encode(frame, self._coding))

    def _put_data(self, data: bytes) -> Outgoing | None:
        if self._ended:
            return None
        if self._outbox.full:
            self.close(4008, "takes nothing")
            return None
        return self._outbox.put(data)

    async def _write(self) -> None:
        try:
            await self._outbox.empty_into(self._send)
        except WebSocketDisconnect:
            self._scope.cancel()

    def _acknowledge(self, seq: int) -> None:
        self._put(Ack(seq))

    async def _send(self, data: bytes) -> None:
        if self._coding.binary:
            await self._socket.send_bytes(data)
        else:
            await self._socket.send_text(data.decode())

    # -- in -------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                frame = self.parse(message.get("bytes"), message.get("text"))
                if frame is None:
                    return
                await self._rate.one_more()
                self._heartbeat.heard()
                await self._take(frame)
        except WebSocketDisconnect:
            return

    def parse(self, binary: bytes | None, text: str | None) -> Frame | None:
        """The frame in a message; None after closing the connection because it is none."""
        return parse(self._coding, self._settings.max_frame, binary, text, self.close)

    async def _take(self, frame: Frame) -> None:
        match frame:
            case Result() | Error():
                await self._answered(frame.id, response_of(frame))
            case Notify():
                await self._notified(frame)
            case Event():
                await self._event(frame)
            case Ping():
                self._put(Pong(frame.n))
            case Bye():
                self.close(1000, "bye")
            case Pong() | Unknown():
                pass
            case _:
                self.close(1002, "that frame is the hub's to send")

    async def _answered(self, token: str, response: DeviceResponse) -> None:
        if self._questions.answered(token, response):
            self.registration.heard(token)
            if (observation := self.registration.observations.get(token)) is not None:
                observation.began = self._clock.monotonic()
            return
        call_id = call_of_token(token, self.registration.address)
        if call_id is None or self.registration.heard(token):
            self.ignored += 1  # forged, meant for another device, or heard before
            return
        await self._handover.put(late_answer(call_id, response, self.registration.address, self._clock.monotonic()))

    async def _notified(self, frame: Notify) -> None:
        observation = self.registration.observations.get(frame.id)
        if observation is None:
            # Left over from before a restart of the hub, or cancelled while the device was away.
            if len(self._outbox) < ROOM // 2:
                self.cancel(frame.id)
            return
        now = self._clock.monotonic()
        taken = self._ctx.emit(notification_of(frame, observation.spec, now))
        self.shed += not taken
        if frame.last:
            observation.active = False
            del self.registration.observations[frame.id]
            await self._handover.put(
                DeviceEvent(EventKind.OBSERVE_ENDED, self.registration.address, now, target=observation.spec.target)
            )

    async def _event(self, frame: Event) -> None:
        if frame.seq <= self.registration.last_event:
            self._put(Ack(frame.seq))  # the hub holds it; its acknowledgement was lost
            return
        await self._handover.put(event_of(frame, self.registration.address, self._clock.monotonic()), frame.seq)

    async def _hand_over(self) -> None:
        try:
            signed_off = await self._handover.run()
        except UnknownDevice:
            self.dismiss()
            return
        if signed_off:
            self.signed_off = True
            self.close(1000, "signed off")
        else:
            self.close(1013, "try again later")
