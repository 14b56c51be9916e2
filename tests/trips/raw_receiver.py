"""A receiver of callbacks that shows what is on the wire, and may hang up on a connection that was kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Raw:
    """One request as its bytes came. `on_kept`: on a connection that had carried another before."""

    line: str
    head: bytes
    body: bytes
    on_kept: bool


class RawReceiver:
    """Answers 204 and keeps the connection. While `hang_up` is set a request on a kept connection is read whole and
    answered by the end of the connection."""

    def __init__(self) -> None:
        self.url = ""
        self.hang_up = False
        self.got: asyncio.Queue[Raw] = asyncio.Queue()
        self.hung_up = 0
        self.open: set[asyncio.StreamWriter] = set()

    async def next(self) -> Raw:
        """The next request."""
        async with asyncio.timeout(PATIENCE):
            return await self.got.get()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        kept = False
        self.open.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
                self.got.put_nowait(Raw(head.split(b"\r\n", 1)[0].decode("ascii"), head, body, kept))
                if kept and self.hang_up:
                    self.hung_up += 1
                    break
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                kept = True
        self.open.discard(writer)
        writer.close()


@asynccontextmanager
async def receiving_raw() -> AsyncIterator[RawReceiver]:
    """A receiver that listens from here to the end of the block."""
    receiver = RawReceiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
        for writer in receiver.open:
            writer.close()
        await server.wait_closed()
