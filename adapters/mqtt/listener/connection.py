"""One connection: bytes to packets and back, with every bound of it: first packet, keep-alive, rate, sizes, room.

What packets mean is said by the session that the door gives it. Work that waits for the disk is done in order
beside the reading; an idle connection has no task.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, cast

from adapters.mqtt.listener import codec
from adapters.mqtt.listener.codec import Connect, Decoder, Malformed, Packet
from adapters.mqtt.listener.settings import MqttSettings
from hub.model.errors import HubError
from hub.ports.adapter import AdapterContext
from hub.ports.clock import Timer

if TYPE_CHECKING:
    from adapters.mqtt.listener.session import Session

ROOM = 64
FIRST_PACKET = 4096
HEAD_MOST = 2 + 65_535 + 2
"""Bytes of a topic and of a packet id: what a message has beside its payload."""
EARLY_MOST = 64 * 1024
OUT_MOST = 4 << 20
STUCK = 30.0
FAREWELL = 5.0

log = logging.getLogger("hub.adapter.mqtt")

Job = Callable[[], Awaitable[None]]


class Door(Protocol):
    """Who let the connection in."""

    settings: MqttSettings

    def opened(self, connection: Connection) -> bool: ...
    async def greet(self, connection: Connection, hello: Connect) -> None: ...
    def ended(self, session: Session) -> None: ...
    def gone(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """From the accepted socket to its end."""

    __slots__ = (
        "_beat", "_counted", "_ctx", "_decoder", "_door", "_farewell", "_fault", "_greeting", "_heard", "_held",
        "_jobs", "_limit", "_packets", "_pause", "_second", "_stuck", "_transport", "_worker", "ended", "session",
        "writable",
    )  # fmt: skip

    def __init__(self, door: Door, ctx: AdapterContext) -> None:
        self.session: Session | None = None
        self.ended = False
        self.writable = True
        self._door = door
        self._ctx = ctx
        self._decoder = Decoder(FIRST_PACKET)
        self._transport: asyncio.Transport | None = None
        self._packets: deque[Packet] = deque()
        self._jobs: deque[Job] = deque()
        self._worker = False
        self._greeting = False
        self._held = False
        self._fault: str | None = None
        self._beat: Timer | None = None
        self._stuck: Timer | None = None
        self._pause: Timer | None = None
        self._farewell: Timer | None = None
        self._heard = ctx.clock.monotonic()
        self._limit = 0.0
        self._counted = 0
        self._second = self._heard

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket was accepted: it has a little time to say who it is."""
        # Not every loop's transports are of asyncio's own class.
        self._transport = transport = cast(asyncio.Transport, transport)
        if not self._door.opened(self):
            self.abort()
            return
        transport.set_write_buffer_limits(high=64 * 1024)
        self._limit = self._door.settings.connect_time.total_seconds()
        self._arm(self._limit)

    def data_received(self, data: bytes) -> None:
        """Bytes came: whole packets are dealt with, in order."""
        if self.ended:
            return
        try:
            for packet in self._decoder.feed(data):
                self._packets.append(packet)
                if isinstance(packet, Connect):
                    # What follows it may be large, and may come before its answer.
                    self._decoder.limit = self._door.settings.max_packet + HEAD_MOST
        except Malformed as fault:
            self._fault = str(fault)
        self._heard = self._ctx.clock.monotonic()
        self._deal()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._end("the connection was lost")
        self._transport = None
        if self._farewell is not None:
            self._farewell.cancel()
        self._door.gone(self)

    def eof_received(self) -> None:
        """The device says nothing more; that it reads what it is sent is not said."""
        self.close("the device hung up")

    def pause_writing(self) -> None:
        """The device reads too slowly: no call goes out, and one that reads nothing at all is sent away."""
        self.writable = False
        if not self.ended:
            self._stuck = self._ctx.clock.call_at(self._ctx.clock.monotonic() + STUCK, self.abort, "takes nothing")

    def resume_writing(self) -> None:
        """It reads again."""
        self.writable = True
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        if self.session is not None and not self.ended:
            self.session.awake()

    # -- for the door and the session -----------------------------------------------------------

    def serve(self, session: Session, keep_alive: float) -> None:
        """The device is let in: what it says is heard from now on, and it must give signs of life."""
        self.session = session
        self._greeting = False
        self._limit = keep_alive * 1.5
        self._arm(self._limit)
        self._deal()

    def send(self, data: bytes) -> bool:
        """Hand bytes to the transport; False when the connection is ending and they did not leave."""
        if self.ended or self._transport is None or self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size() > OUT_MOST:
            self.abort("takes nothing")
            return False
        self._transport.write(data)
        return True

    def later(self, job: Job) -> None:
        """Do something that waits, after what was given before; reading pauses when too much waits."""
        self._jobs.append(job)
        if not self._worker:
            self._worker = True
            self._ctx.spawn(self._work(), name=f"{self._ctx.name}-intake")

    def close(self, why: str) -> None:
        """End the connection; what was written still goes out, if the device takes it within a few seconds."""
        self._end(why)
        if self._transport is not None and self._farewell is None:
            self._transport.close()
            # A transport that closes waits for its peer without end: for room, and with TLS for an answer.
            self._farewell = self._ctx.clock.call_at(self._ctx.clock.monotonic() + FAREWELL, self._transport.abort)

    def abort(self, why: str = "the connection was cut") -> None:
        """End the connection at once."""
        self._end(why)
        if self._transport is not None:
            self._transport.abort()

    # -- inside ---------------------------------------------------------------------------------

    def _end(self, why: str) -> None:
        if self.ended:
            return
        log.debug("a connection ends: %s", why)
        self.ended = True
        self._packets.clear()
        for timer in (self._beat, self._stuck, self._pause):
            if timer is not None:
                timer.cancel()
        if self.session is not None:
            self.session.lost(why)
            # Now, and not when its socket is gone: that is for the device to hold up.
            self._door.ended(self.session)

    def _arm(self, seconds: float) -> None:
        if self._beat is not None:
            self._beat.cancel()
        self._beat = self._ctx.clock.call_at(self._ctx.clock.monotonic() + seconds, self._beat_over)

    def _beat_over(self) -> None:
        if self.session is None:
            if not self._greeting:
                self.close("no CONNECT in time")
                return
            self._arm(self._limit)
            return
        silent = self._ctx.clock.monotonic() - self._heard
        # A connection whose reading is paused cannot be heard; it is not silent.
        if silent >= self._limit and not self._held:
            self.close("no sign of life")
        else:
            self._arm(max(self._limit - silent, 0.1) if not self._held else self._limit)

    def _deal(self) -> None:
        """Take packet after packet while there is time and room for them."""
        while self._packets and not (self.ended or self._greeting):
            if len(self._jobs) >= ROOM:
                self._hold()
                return
            wait = self._over_rate()
            if wait:
                # Not reading is the one limit that a device cannot ignore: its own socket fills up.
                self._hold()
                if self._pause is None:
                    self._pause = self._ctx.clock.call_at(wait, self._go_on)
                return
            try:
                self._take(self._packets.popleft())
            except Exception:
                # As in `_work`; whoever called, be it a timer, goes on.
                log.exception("a packet could not be dealt with")
                self.abort()
                return
        if self.ended:
            return
        if self._fault is not None and not self._greeting:
            self.close(self._fault)
        elif self._greeting:
            # Read on, to notice when it leaves, but keep little for somebody who may not stay.
            if len(self._packets) >= ROOM or self._decoder.kept >= EARLY_MOST:
                self._hold()
        elif self._held:
            self._held = False
            if self._transport is not None:
                self._transport.resume_reading()

    def _go_on(self) -> None:
        """Another second has begun."""
        self._pause = None
        self._deal()

    def _hold(self) -> None:
        if not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()

    def _over_rate(self) -> float:
        """When to go on, if this packet is one too many in its second; it is counted if not."""
        now = self._ctx.clock.monotonic()
        if now - self._second >= 1.0:
            self._second, self._counted = now, 0
        if self._counted >= self._door.settings.packets_per_second:
            return self._second + 1.0
        self._counted += 1
        return 0.0

    def _take(self, packet: Packet) -> None:
        if self.session is None:
            if isinstance(packet, Connect):
                self._greeting = True
                self._ctx.spawn(self._greet(packet), name=f"{self._ctx.name}-greet")
            else:
                self.close("the first packet is a CONNECT")
            return
        match packet:
            case codec.Publish():
                self.session.take(packet)
            case codec.PingReq():
                self.send(codec.encode(codec.PingResp()))
            case codec.PubAck():
                pass  # commands go out with QoS 0
            case codec.Subscribe():
                codes = tuple(self.session.grant(name, qos) for name, qos in packet.filters)
                self.send(codec.encode(codec.SubAck(packet.packet_id, codes)))
            case codec.Unsubscribe():
                self.send(codec.encode(codec.UnsubAck(packet.packet_id)))
            case codec.Disconnect():
                self.close("the device signed off")
            case _:
                self.close("that packet is the hub's to send, or came twice")

    async def _greet(self, hello: Connect) -> None:
        try:
            await self._door.greet(self, hello)
        finally:
            self._greeting = False

    async def _work(self) -> None:
        """Job after job, each of them once; what the hub could not take ends the connection, and the device tells it
        again."""
        try:
            while self._jobs:
                await self._jobs.popleft()()
                if self._held and len(self._jobs) <= ROOM // 2:
                    self._deal()
        except HubError as failure:
            log.warning("a message could not be stored: %s", failure)
            self._jobs.clear()
            self.close("the hub could not store a message")
        except Exception:
            # A fault of the hub's own: the device is not left at a connection that nobody reads any more.
            log.exception("a message could not be dealt with")
            self._jobs.clear()
            self.close("the hub failed on a message")
        finally:
            self._worker = False
