"""A keep-alive HTTP/1.1 client that posts prepared bytes: one connection, one request at a time.

No more HTTP than a load generator needs: it writes what it is given and reads a status, a position header and a
body of known length. Anything else from the server is a failure of the lap, nothing to be clever about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

ANSWER_LIMIT = 65536


def post(path: str, key: str, body_length: int, host: str) -> bytes:
    """The head of a POST whose JSON body will be exactly `body_length` bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {body_length}\r\n\r\n"
    ).encode("ascii")


class Poster(asyncio.Protocol):
    """One connection. `answered(poster, status, position)` runs once per request.

    The status is 0 for a connection that broke. `position` is the `Hub-Position` header as text, or None. `post`
    may be called again from within `answered`: so a closed loop needs no task per request.
    """

    __slots__ = ("_busy", "_need", "_received", "_transport", "answered", "ref", "started")

    def __init__(self, answered: Callable[[Poster, int, str | None], None]) -> None:
        self.answered = answered
        self.ref = -1
        self.started = 0
        self._busy = False
        self._received = b""
        self._need = 0
        self._transport: asyncio.Transport | None = None

    @property
    def gone(self) -> bool:
        """Whether the connection has ended, by the server's keep-alive time for one."""
        return self._transport is None or self._transport.is_closing()

    @property
    def usable(self) -> bool:
        """Whether a request may be written now."""
        return not self.gone and not self._busy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do what asyncio.Transport says but do not descend from it.
        self._transport = cast(asyncio.Transport, transport)

    def post(self, request: bytes) -> None:
        """Write one whole request; its answer comes to `answered`."""
        assert self._transport is not None and not self._busy
        self._busy = True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        if len(self._received) < self._need:
            return
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            if len(self._received) > ANSWER_LIMIT:
                self._abort()
            return
        head = self._received[:end].lower()
        self._need = end + 4 + int(_header(head, b"content-length") or b"0")
        if len(self._received) < self._need:
            return
        status = int(head[9:12])
        position = _header(head, b"hub-position")
        self._received = self._received[self._need :]
        self._need = 0
        self._busy = False
        if _header(head, b"connection") == b"close":
            self._abort()
        self.answered(self, status, position.decode("ascii") if position else None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._busy:
            self._busy = False
            self.answered(self, 0, None)

    def close(self) -> None:
        """Let go of the connection; a request in flight is answered with status 0."""
        if self._transport is not None:
            self._transport.close()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _header(head: bytes, name: bytes) -> bytes | None:
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    end = head.find(b"\r\n", at + 2)
    return head[at + len(name) + 3 : end if end >= 0 else len(head)].strip()


async def connect_posters(
    host: str, port: int, count: int, answered: Callable[[Poster, int, str | None], None]
) -> list[Poster]:
    """`count` open connections. Raises OSError when the server does not take one within 10 s."""
    loop = asyncio.get_running_loop()
    posters = []
    for _ in range(count):
        async with asyncio.timeout(10):
            _, poster = await loop.create_connection(partial(Poster, answered), host, port)
        posters.append(poster)
    return posters
