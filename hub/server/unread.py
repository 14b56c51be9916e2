"""What a client leaves unread of its answers: as long as it takes some of it, it may take its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Unread:
    """The watch over one connection's write buffer; `cut` is called when nothing was taken for `patience` seconds.

    Whoever watches sees to it that nothing is written meanwhile: a buffer that grows tells nothing of its reader.
    """

    __slots__ = ("_cut", "_left", "_loop", "_patience", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float, cut: Callable[[], None]) -> None:
        self._loop = loop
        self._patience = patience
        self._cut = cut
        self._left = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, transport: asyncio.WriteTransport) -> None:
        """Watch from now on until everything is taken; a watch that runs already begins anew."""
        self.stop()
        self._left = transport.get_write_buffer_size()
        if self._left:
            self._timer = self._loop.call_later(self._patience, self._look, transport)

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, transport: asyncio.WriteTransport) -> None:
        self._timer = None
        if 0 < self._left <= transport.get_write_buffer_size():
            self._cut()
        else:
            self.watch(transport)
