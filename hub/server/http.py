"""The hub's HTTP class for uvicorn: a request head and a body have a size and a time (delivery-guarantees J).

A small subclass: parsing and the ASGI side stay uvicorn's. A request that arrives in one piece, as nearly all do,
starts no timer and pays one comparison. The size of a body is the application's to judge.
"""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import httptools
from starlette.requests import ClientDisconnect
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from hub.core.limits import Limits
from hub.delivery.sse import ABORT
from hub.server.unread import Unread

# What the WebSocket parser takes as a line of a head, less the line's own words.
WEBSOCKET_LINE = 8192 - 32
# How long a refused connection is read and thrown away, so that the answer is not lost in a reset.
LINGER = 2.0

_SECOND = timedelta(seconds=1)
_LINE = re.compile(rb"\s*\S+ (\S+)")


Worded = Callable[[str, int], tuple[str, bytes] | None]
"""How a refusal that the server itself makes is told to whoever asked for a path: media type and body for (path,
status); None: the status in words."""


def in_words(path: str, status: int) -> tuple[str, bytes] | None:
    """Every refusal in plain words."""
    return None


class Part(enum.Enum):
    """What of a request is due next."""

    NOTHING = "nothing"
    HEAD = "head"
    BODY = "body"


class _Refused(Exception):
    """Leaves the parser, which would go on otherwise."""


class RequestProtocol(HttpToolsProtocol):
    """One HTTP connection."""

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
        self._part = Part.NOTHING
        self._timer: asyncio.TimerHandle | None = None
        self._timed = Part.NOTHING
        self._head_bytes = 0
        self._head_seen = 0
        self._requests = 0
        self._refusal = 0
        self._lingering = False
        self._unread = Unread(self.loop, self.limits.keep_alive / _SECOND, self.abort)

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn; the first head is due from now on."""
        super().connection_made(transport)
        self._time(Part.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn."""
        self._untime()
        self._unread.stop()
        # uvicorn leaves this one running when the connection breaks with an error.
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then judge what is still due."""
        if self._lingering:
            return
        fresh = self._part is Part.NOTHING
        if fresh or self._part is Part.HEAD:
            self._head_seen += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if fresh and not self.url and (line := _LINE.match(data)):
                # A method that the parser does not know: it stops before it says what was asked for.
                self.url = line[1]
            self._refuse(self._refusal or 400)
            return
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                return
        if self._part is Part.NOTHING:
            self._head_seen = 0
            self._idle()
        elif self._part is Part.HEAD and self._head_seen > self.limits.head:
            self._refuse(431)
        else:
            self._unset_keepalive_if_required()
            self._time(self._part)

    def handle_websocket_upgrade(self) -> None:
        """As uvicorn; the connection's time is the WebSocket class's from here on. What that would not take of the head
        is refused here, where it is known what was asked for."""
        if max(len(self.url), *(len(name) + len(value) for name, value in self.headers)) > WEBSOCKET_LINE:
            self._refuse(431)
            return
        self._untime()
        self._unread.stop()
        super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """As uvicorn; that a client left in the middle of its body is no error of the application."""

        async def run(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except ClientDisconnect:
                if not cycle.disconnected:
                    raise

        super()._start_asgi_task(cycle, run)

    # Answers

    def on_response_complete(self) -> None:
        """As uvicorn; what is not read of the answer does not keep the connection for ever, closing or not."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The buffer is full: whoever writes waits for the client."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The buffer has room again."""
        super().resume_writing()
        self._watch()

    def _watch(self) -> None:
        """Watch the client while nothing is written."""
        if self.flow.write_paused or not self._busy():
            self._unread.watch(self.transport)
        else:
            self._unread.stop()

    # Parser

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        if self._requests:
            # Bytes of the request before may be in the same read: only what follows is counted as head.
            self._head_seen = 0
        self._requests += 1
        self._part = Part.HEAD
        self._head_bytes = 0
        cast(Any, self.scope)["extensions"] = {ABORT: self.abort}

    def on_url(self, url: bytes) -> None:
        """As uvicorn, within the size of a head."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn, within the size and the lines of a head."""
        self._count(len(name) + len(value) + 4)
        if len(self.headers) >= self.limits.head_lines:
            self._leave_parser(431)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._part = Part.BODY
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._part = Part.NOTHING
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.limits.head:
            self._leave_parser(431)

    def _leave_parser(self, status: int) -> None:
        self._refusal = status
        raise _Refused

    # Time

    def _time(self, part: Part) -> None:
        """Let the clock run for a part, from its first byte; a running one goes on."""
        if self._timed is part and self._timer is not None:
            return
        self._untime()
        limit = self.limits.head_time if part is Part.HEAD else self.limits.body_time
        self._timed = part
        self._timer = self.loop.call_later(limit / _SECOND, self._late)

    def _untime(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timed = Part.NOTHING

    def _idle(self) -> None:
        """Nothing is due: a connection that is not being answered has its keep-alive time."""
        if not self._requests:
            # Empty lines only: the first head is still due.
            return
        self._untime()
        if self._busy():
            self._unset_keepalive_if_required()
        elif self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _late(self) -> None:
        part = self._timed
        self._timer = None
        if self.transport.is_closing() or self._lingering:
            return
        if self.flow.read_paused or (part is Part.HEAD and self._busy()):
            # We ourselves do not read, or an earlier request of this connection is still being answered.
            self._time(part)
        elif part is Part.HEAD:
            if self._part is Part.HEAD:
                self._refuse(408)
            else:
                self.transport.close()
        elif self._busy():
            self._refuse(408)
        else:
            self.abort()

    # Ends

    def abort(self) -> None:
        """Cut the connection; the application is told that the client has gone."""
        self._disconnect_cycle()
        self.transport.abort()

    def _disconnect_cycle(self) -> bool:
        """Tell a running request that its client has gone; returns whether its answer had begun."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return cycle.response_started

    def _refuse(self, status: int) -> None:
        """Answer with a status and end the connection, reading on for a moment."""
        self._refusal = status
        self._untime()
        self._unset_keepalive_if_required()
        self._lingering = True
        earlier = self._part is not Part.BODY and self._busy()
        if self._disconnect_cycle() or earlier:
            # An answer has begun, or is due to an earlier request: ours would be taken for it.
            self.transport.abort()
            return
        # A head may be refused before it has said what it asks for.
        path = (self.url or b"").partition(b"?")[0]
        reason = STATUS_LINE[status].split(b" ", 2)[2].strip()
        kind, body = self.worded(path.decode("latin-1"), status) or ("text/plain; charset=utf-8", reason)
        headers = [*self.server_state.default_headers, (b"content-type", kind.encode())]
        self.transport.write(
            b"".join(
                [
                    STATUS_LINE[status],
                    *(name + b": " + value + b"\r\n" for name, value in headers),
                    b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body),
                    body,
                ]
            )
        )
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER, self.transport.abort)


def http_protocol(limits: Limits, worded: Worded = in_words) -> type[RequestProtocol]:
    """The class with these limits, for uvicorn's `http=`; `worded` words what it refuses by itself."""
    return type("RequestProtocol", (RequestProtocol,), {"limits": limits, "worded": staticmethod(worded)})
