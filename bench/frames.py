"""WebSocket frames as a client sees them (RFC 6455): pure, no sockets.

The server's frames are unmasked and often several to a read; ours are masked, as they must be.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class BadFrame(ValueError):
    """The server sent what no server may send, so nothing after it can be trusted."""


class Frames:
    """Cuts a stream of bytes into frames.

    `feed` yields (opcode, buffer, start, end): the payload is buffer[start:end], not copied, because a load
    generator that copies every payload measures itself. What is not yet a whole frame is kept.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes, int, int]]:
        """The whole frames in what was kept and `data`. Raises BadFrame for a masked, fragmented or extended one."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, size = 0, len(data)
        while size - at >= 2:
            first, length = data[at], data[at + 1]
            start = at + 2
            if length > 125:
                if length > 127:
                    raise BadFrame("a masked frame from the server")
                width = 2 if length == 126 else 8
                if size - start < width:
                    break
                length = int.from_bytes(data[start : start + width], "big")
                start += width
            end = start + length
            if end > size:
                break
            if first & 0xF0 != 0x80:
                raise BadFrame("a fragmented or extended frame, which was not agreed")
            yield first & 0x0F, data, start, end
            at = end
        if at < size:
            self._rest = data[at:]


def masked(opcode: int, payload: bytes) -> bytes:
    """A whole client frame of at most 125 bytes of payload, which is all that this client ever sends."""
    if len(payload) > 125:
        raise ValueError("a longer frame than this client sends")
    mask = os.urandom(4)
    covered = bytes(byte ^ mask[i & 3] for i, byte in enumerate(payload))
    return bytes((0x80 | opcode, 0x80 | len(payload))) + mask + covered
