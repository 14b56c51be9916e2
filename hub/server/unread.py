"""What a client leaves unread of its answers: as long as it takes some of it, it may take its time.

The kernel holds megabytes below a write buffer: that does not move for as long as a slow client reads those.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable

_ACKED = slice(120, 128)
"""`tcpi_bytes_acked` of Linux's `tcp_info`: what the other side has acknowledged since the connection began."""


class Unread:
    """The watch over one connection's write buffer; `cut` is called when nothing was taken for `patience` seconds.

    Whoever watches sees to it that nothing is written meanwhile: a buffer that grows tells nothing of its reader.
    """

    __slots__ = ("_acked", "_cut", "_left", "_loop", "_patience", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float, cut: Callable[[], None]) -> None:
        self._loop = loop
        self._patience = patience
        self._cut = cut
        self._left = 0
        self._acked = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, transport: asyncio.WriteTransport) -> None:
        """Watch from now on until everything is taken; a watch that runs already begins anew."""
        self.stop()
        self._left = transport.get_write_buffer_size()
        if self._left:
            self._acked = _acked(transport)
            self._timer = self._loop.call_later(self._patience, self._look, transport)

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, transport: asyncio.WriteTransport) -> None:
        self._timer = None
        if 0 < self._left <= transport.get_write_buffer_size() and _acked(transport) <= self._acked:
            self._cut()
        else:
            self.watch(transport)


def _acked(transport: asyncio.WriteTransport) -> int:
    """How many bytes have left the kernel's buffer, too; 0 where that cannot be known."""
    if sys.platform != "linux":
        return 0
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.stop)
    except (OSError, AttributeError):
        return 0  # no TCP, or gone
    return int.from_bytes(info[_ACKED], sys.byteorder)
