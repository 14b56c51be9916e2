"""The hub's WebSocket class for uvicorn: its connection is itself the listener's sink.

A small subclass: handshake, parsing and the ASGI side stay uvicorn's. What is added is a write that takes finished
frames, a bound on the write buffer with call-backs, pings with answers, reading that goes on while the
application is busy, and ends that do not hang on a peer that is gone.
"""

from __future__ import annotations

import asyncio
import struct
from asyncio.transports import BaseTransport
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request, Response

from hub.core.limits import Limits
from hub.delivery import frames
from hub.delivery.sink import EXTENSION
from hub.server.http import Worded, in_words

# Messages that wait for the application before reading pauses; reading on is what lets pongs come in.
WAITING_MESSAGES = 32
# How long a failed connection is read and thrown away, so that the close frame is not lost in a reset.
LINGER = 2.0

_SECOND = timedelta(seconds=1)


class HubWebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection; in the ASGI scope it is `extensions["hub.sink"]` (see `hub/delivery/sink.py`)."""

    limits: Limits = Limits()
    worded: Worded = staticmethod(in_words)

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        limits = self.limits
        self.conn.max_message_size = limits.message
        self._judge = self.conn.accept
        cast(Any, self.conn).accept = self._judged
        self.ping_interval = limits.ping / _SECOND
        self.ping_timeout = limits.pong / _SECOND
        self.paused = False
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self._pings: dict[bytes, Callable[[], None]] = {}
        self._ping_number = 0
        self._fragments = 0
        self._waiting_bytes = 0
        self._lingering = False
        # Set as soon as nothing may be written any more, for whatever reason: one look per delivery.
        self._mute = False

    # Sink

    def write(self, data: bytes) -> None:
        """Send finished frames; nothing once the connection is closing or lost."""
        if not self._mute:
            self.transport.write(data)

    def ping(self, answered: Callable[[], None]) -> bool:
        """Ping; the pong, or one to a later ping, calls `answered`."""
        if self._mute:
            return True
        self._ping_number = (self._ping_number + 1) & 0xFFFF_FFFF
        payload = struct.pack("!I", self._ping_number)
        # Every reader on the socket may wait for one answer, and the keep-alive for another.
        while len(self._pings) > self.limits.subscriptions + 1:
            self._pings.pop(next(iter(self._pings)))
        self._pings[payload] = answered
        self.transport.write(frames.ping(payload))
        return True

    def waiting(self) -> int:
        """Bytes in the transport's buffer."""
        return 0 if self.disconnected else self.transport.get_write_buffer_size()

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame and end the connection: at the peer's answer, or after ten seconds whatever it does."""
        if self._mute:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        try:
            self.conn.send_close(code, _short(reason))
        except InvalidState:
            self.transport.close()
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._await_close()

    def _await_close(self) -> None:
        self.stop_keepalive()
        self.close_sent = self._mute = True
        self._read_on()
        if self.close_timer is None:
            # abort, not close: a full buffer to a peer that reads nothing would otherwise stay for ever.
            self.close_timer = self.loop.call_later(self.close_timeout, self._abort)

    def _abort(self) -> None:
        self.close_timer = None
        self.transport.abort()

    # Connection

    async def run_asgi(self) -> None:
        """As uvicorn; when the application has ended, a client that reads nothing does not keep the connection."""
        await super().run_asgi()
        if self.close_timer is None and not self.disconnected:
            self.close_timer = self.loop.call_later(LINGER, self._abort)

    def connection_made(self, transport: BaseTransport) -> None:
        """As uvicorn, with the bound of the write buffer."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=self.limits.write_buffer)

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn; the listeners are told at once."""
        self._mute = True
        self._pings.clear()
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def handle_connect(self, event: Request) -> None:
        """As uvicorn, with the sink in the scope."""
        super().handle_connect(event)
        if not self.handshake_complete:
            # The application's task was made in there but has not run yet.
            cast(Any, self.scope)["extensions"][EXTENSION] = self

    def _judged(self, request: Request) -> Response:
        """The answer to a handshake; one that is refused for what it is tells so in the words of its path."""
        response = self._judge(request)
        told = self.worded(request.path.partition("?")[0], response.status_code)
        if response.status_code != 101 and told is not None:
            kind, response.body = told
            for name, value in (("Content-Type", kind), ("Content-Length", str(len(response.body)))):
                del response.headers[name]
                response.headers[name] = value
        return response

    def data_received(self, data: bytes) -> None:
        """As uvicorn; a failed connection is read and thrown away, a refused head is answered."""
        if self._lingering:
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # The head was beyond what the WebSocket parser takes; uvicorn would leave it open, unanswered.
            self.handshake_complete = self.close_sent = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def pause_writing(self) -> None:
        """The buffer is full."""
        super().pause_writing()
        self.paused = True
        if self.on_pause is not None:
            self.on_pause()

    def resume_writing(self) -> None:
        """The buffer has room again."""
        super().resume_writing()
        self.paused = False
        if self.on_resume is not None:
            self.on_resume()

    # Messages of the client

    def handle_text(self, event: Frame) -> None:
        """As uvicorn, counting fragments."""
        self._fragments = 1
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """As uvicorn, counting fragments."""
        self._fragments = 1
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """As uvicorn, up to the limit of fragments."""
        self._fragments += 1
        if self._fragments <= self.limits.fragments:
            super().handle_cont(event)
        elif not self._lingering:
            self._fail(1009, "too many fragments")

    def send_receive_event_to_app(self) -> None:
        """Give a whole message to the application; reading pauses only when several wait."""
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent or self._lingering:
            return
        if self.curr_msg_data_type == "text":
            try:
                text = data.decode()
            except UnicodeDecodeError:
                self._fail(1007, "text is UTF-8")
                return
            self.queue.put_nowait({"type": "websocket.receive", "text": text})
        else:
            self.queue.put_nowait({"type": "websocket.receive", "bytes": bytes(data)})
        self._waiting_bytes += len(data)
        full = self._waiting_bytes > self.limits.message or self.queue.qsize() >= WAITING_MESSAGES
        if full and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    async def receive(self) -> Any:
        """As uvicorn."""
        message = await super().receive()
        if self.queue.empty():
            self._waiting_bytes = 0
        return message

    async def send(self, message: Any) -> None:
        """As uvicorn; a refusal before the upgrade is a complete answer, not an error to be logged."""
        was_closed = self.close_sent
        await super().send(message)
        if self.close_sent and not was_closed:
            if message["type"] == "websocket.http.response.body":
                self.handshake_complete = True
            elif self.close_timer is not None:
                self.close_timer.cancel()
                self.close_timer = None
                self._await_close()

    # Ends

    def handle_close(self, event: Frame) -> None:
        """As uvicorn: the client says goodbye, or answers ours."""
        self._mute = True
        super().handle_close(event)
        if self.close_timer is None and not self.disconnected:
            # A client that reads nothing more would keep the connection for as long as it likes.
            self.close_timer = self.loop.call_later(LINGER, self._abort)

    def handle_parser_exception(self) -> None:
        """The client broke the protocol or a limit: say so, and read on for a moment.

        Closing with unread data in the kernel would reset the connection, and the close frame with it.
        """
        close = self.conn.close_sent
        code, reason = (1006, "") if close is None else (close.code, close.reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        output = b"".join(self.conn.data_to_send())
        if not self.close_sent and output:
            self.transport.write(output)
        self._linger()

    def _fail(self, code: int, reason: str) -> None:
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    def _linger(self) -> None:
        self.stop_keepalive()
        self.close_sent = self._mute = self._lingering = True
        self.frames = []
        self._read_on()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        if self.close_timer is None:
            self.close_timer = self.loop.call_later(LINGER, self._abort)

    def _read_on(self) -> None:
        if self.read_paused:
            self.read_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    # Keep-alive

    def send_keepalive_ping(self) -> None:
        """Ask whether the peer is there; a peer whose buffer is full is judged by how it reads, not by this."""
        self.ping_timer = None
        if self.close_sent or self.transport.is_closing():
            return
        if self.paused or self.read_paused:
            self.schedule_ping()
            return
        self.ping(_nothing)
        self.pong_timer = self.loop.call_later(self.limits.pong / _SECOND, self.keepalive_timeout)

    def handle_pong(self, event: Frame) -> None:
        """A pong answers its ping and every earlier one."""
        payload = bytes(event.data)
        if payload not in self._pings:
            return
        if self.pong_timer is not None:
            self.pong_timer.cancel()
            self.pong_timer = None
            self.schedule_ping()
        for earlier in tuple(self._pings):
            answered = self._pings.pop(earlier)
            answered()
            if earlier == payload:
                return

    def keepalive_timeout(self) -> None:
        """The peer has not answered: the connection is dead, so nothing is waited for."""
        self.pong_timer = None
        if self.close_sent or self.transport.is_closing():
            return
        if self.paused or self.read_paused:
            self.schedule_ping()
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.conn.fail(1011, "keepalive ping timeout")
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._linger()


def _short(reason: str) -> str:
    return reason.encode()[: frames.CONTROL_MAX - 2].decode(errors="ignore")


def _nothing() -> None:
    """A keep-alive ping is answered by resetting the timer, nothing more."""


def websocket_protocol(limits: Limits, worded: Worded = in_words) -> type[HubWebSocketProtocol]:
    """The class with these limits, for uvicorn's `ws=`; `worded` words the handshakes that it refuses by itself."""
    return type(
        "HubWebSocketProtocol", (HubWebSocketProtocol,), {"limits": limits, "worded": staticmethod(worded)}
    )
