"""One socket's way out: its sink, the listeners that write to it, and the end of a socket that takes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import anyio

from hub.core.stats import Stats
from hub.delivery.listener import Listener
from hub.delivery.sink import Sink
from hub.ports.clock import Clock, Timer

SLOW_CONSUMER = 4008
CLOSE_GRACE = timedelta(seconds=10)

_SECOND = timedelta(seconds=1)


class Outlet:
    """Joins a sink with its listeners.

    A lost connection stops the listeners; what the client still had sent is the session's to finish. `gone` is called
    ten seconds after `close` if the socket's task has not ended by then: it must end at once.
    """

    __slots__ = (
        "_clock",
        "_closing",
        "_gone",
        "_listeners",
        "_patience",
        "_room",
        "_stats",
        "_stuck",
        "_waiting",
        "closed",
        "sink",
    )

    def __init__(
        self, sink: Sink, clock: Clock, patience: timedelta, gone: Callable[[], None], stats: Stats | None = None
    ) -> None:
        self.sink = sink
        self._stats = stats or Stats()
        self.closed: tuple[int, str] | None = None
        self._clock = clock
        self._patience = patience
        self._gone = gone
        self._listeners: dict[Listener, None] = {}
        self._stuck: Timer | None = None
        self._closing: Timer | None = None
        self._waiting = 0
        self._room: anyio.Event | None = None
        sink.on_pause = self._paused
        sink.on_resume = self._resumed
        sink.on_lost = self._lost

    def add(self, listener: Listener) -> None:
        """Let a listener write to this socket."""
        self._listeners[listener] = None
        listener.start()

    def remove(self, listener: Listener) -> None:
        """Stop a listener; the others go on."""
        self._listeners.pop(listener, None)
        listener.stop()

    def write(self, data: bytes) -> None:
        """Send a frame that is nobody's event (an answer, a gap)."""
        self.sink.write(data)

    async def room(self) -> None:
        """Wait while the sink is full: who answers a client must not fill it without bound."""
        while self.sink.paused and self.closed is None:
            if self._room is None:
                self._room = anyio.Event()
            await self._room.wait()

    def close(self, code: int, reason: str = "") -> None:
        """Stop every listener and close the socket; the first close wins."""
        if self.closed is not None:
            return
        self.closed = (code, reason)
        self._stop_listeners()
        self.sink.close(code, reason)
        self._closing = self._clock.call_at(self._clock.monotonic() + CLOSE_GRACE / _SECOND, self._gone)

    def release(self) -> None:
        """The socket's task ends: nothing of it may stay behind."""
        self.closed = self.closed or (1006, "")
        self._stop_listeners()
        if self._closing is not None:
            self._closing.cancel()
        self.sink.on_pause = self.sink.on_resume = self.sink.on_lost = None

    def _stop_listeners(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        listeners, self._listeners = tuple(self._listeners), {}
        for listener in listeners:
            listener.stop()
        self._wake()

    def _wake(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _paused(self) -> None:
        for listener in tuple(self._listeners):
            listener.pause()
        if self._stuck is None and self.closed is None:
            self._watch()

    def _watch(self) -> None:
        self._waiting = self.sink.waiting()
        self._stuck = self._clock.call_at(self._clock.monotonic() + self._patience / _SECOND, self._look)

    def _look(self) -> None:
        self._stuck = None
        if not self.sink.paused or self.closed is not None:
            return
        if self.sink.waiting() < self._waiting:
            # It takes little, but it takes; only one that takes nothing is closed.
            self._watch()
        else:
            self._stats.slow_closed += 1
            self.close(SLOW_CONSUMER, "too slow; resume from your position")

    def _resumed(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        for listener in tuple(self._listeners):
            listener.resume()
        self._wake()

    def _lost(self) -> None:
        self.closed = self.closed or (1006, "")
        self._stop_listeners()
