"""Everything that is held open for a listener: how many there are, whose, and how they are told to end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import TracebackType

import anyio

from hub.core.limits import Limits
from hub.model.errors import TooMany, Unavailable
from hub.ports.clock import Clock

RESTART = 1012
REVOKED = 1008

End = Callable[[int, str], None]
Watch = Callable[[str, Callable[[], None]], Callable[[], None]]


class Opening:
    """One socket, stream or poll that is open. A context manager: leaving it gives the place back.

    `on_end` is called, once, with a close code and a reason when it must end: drain (1012) or a revoked key (1008). Set
    late, it is called at once if the end has come already.
    """

    __slots__ = ("_ended", "_on_end", "_openings", "_unwatch", "key_id", "poll")

    def __init__(self, openings: Openings, key_id: str, poll: bool) -> None:
        self.key_id = key_id
        self.poll = poll
        self._openings = openings
        self._on_end: End | None = None
        self._ended: tuple[int, str] | None = None
        self._unwatch: Callable[[], None] = _nothing

    @property
    def on_end(self) -> End | None:
        """Who is told."""
        return self._on_end

    @on_end.setter
    def on_end(self, end: End) -> None:
        self._on_end = end
        if self._ended is not None:
            end(*self._ended)

    def watch(self, watch: Watch) -> None:
        """End when the key is revoked."""
        self._unwatch = watch(self.key_id, lambda: self.end(REVOKED, "the key was revoked"))

    def end(self, code: int, reason: str) -> None:
        """Tell the holder to end."""
        if self._ended is None:
            self._ended = (code, reason)
            if self._on_end is not None:
                self._on_end(code, reason)

    def __enter__(self) -> Opening:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the place back; a second call does nothing."""
        self._unwatch()
        self._unwatch = _nothing
        self._openings.released(self)


class Openings:
    """All that is open, bounded per key and in the process (delivery-guarantees J)."""

    def __init__(self, limits: Limits, clock: Clock, watch: Watch) -> None:
        self.draining = False
        self._limits = limits
        self._clock = clock
        self._watch = watch
        self._open: dict[Opening, None] = {}
        self._sockets = 0
        self._by_key: Counter[str] = Counter()
        self._empty = anyio.Event()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def sockets(self) -> int:
        """How many sockets and event streams are open."""
        return self._sockets

    def open(self, key_id: str, *, poll: bool = False) -> Opening:
        """A place for one more.

        Raises TooMany when the key has its share, Unavailable when the process is full or draining.
        """
        if self.draining:
            raise Unavailable("the hub is restarting", code="draining", retry_after=1)
        if self._by_key[key_id] >= self._limits.sockets_per_key:
            raise TooMany("the key has as many listeners as it may", code="too-many-listeners", retry_after=5)
        count, most = (len(self._open) - self._sockets, self._limits.polls) if poll else (
            self._sockets,
            self._limits.sockets,
        )
        if count >= most:
            raise Unavailable("the hub has as many listeners as it may", code="too-many-listeners", retry_after=5)
        opening = Opening(self, key_id, poll)
        self._open[opening] = None
        self._by_key[key_id] += 1
        self._sockets += not poll
        opening.watch(self._watch)
        return opening

    def released(self, opening: Opening) -> None:
        """Count one less."""
        if opening not in self._open:
            return
        del self._open[opening]
        self._sockets -= not opening.poll
        self._by_key[opening.key_id] -= 1
        if not self._by_key[opening.key_id]:
            del self._by_key[opening.key_id]
        if not self._open:
            self._empty.set()

    def drain(self) -> None:
        """Take no more and tell all to end: polls answer 204, sockets close with 1012."""
        self.draining = True
        self._empty = anyio.Event()
        if not self._open:
            self._empty.set()
        for opening in tuple(self._open):
            opening.end(RESTART, "the hub is restarting")

    async def drained(self, until: float) -> bool:
        """Wait until nothing is open any more, at most to monotonic `until`; returns whether it is so."""
        left = until - self._clock.monotonic()
        with anyio.move_on_after(max(0.0, left)):
            await self._empty.wait()
        return not self._open


def _nothing() -> None:
    """No key is watched yet."""
