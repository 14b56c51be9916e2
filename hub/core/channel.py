"""One channel in memory: its head, a bounded ring of its newest events, its followers and waiters.

`hub/core/channels.py` owns the channels and moves them; everybody else reads, follows and waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hub.model.event import Event, Position
from hub.ports.clock import Clock

RING_EVENTS = 256
RING_BYTES = 1 << 20

Follower = Callable[[Sequence[Event]], None]


class Channel:
    """The in-memory head of one channel. After `deleted` it never changes again: open the name anew."""

    __slots__ = (
        "__weakref__",
        "_followers",
        "_mourners",
        "_ring",
        "_waiters",
        "account",
        "deleted",
        "epoch",
        "first",
        "head",
        "listeners",
        "name",
        "ring_bytes",
    )

    def __init__(self, name: str, account: str, epoch: str, head: int, first: int) -> None:
        self.name = name
        self.account = account
        self.epoch = epoch
        self.head = head
        self.first = first
        self.listeners = 0
        self.deleted = False
        self.ring_bytes = 0
        self._ring: deque[tuple[Event, int]] = deque()
        self._followers: dict[object, Follower] = {}
        self._mourners: dict[object, Callable[[], None]] = {}
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def position(self) -> Position:
        """The position of a reader that has seen everything."""
        return Position(self.epoch, self.head)

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Have `follower` called at each commit with the channel's new events, in order; returns the unfollow.

        The call comes after `head` has moved and before anybody who waited for the commit resumes.
        """
        mark = object()
        self._followers[mark] = follower
        return lambda: _forget(self._followers, mark)

    def when_deleted(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have `callback` called once when the channel is deleted; returns the way to call it off."""
        mark = object()
        self._mourners[mark] = callback
        return lambda: _forget(self._mourners, mark)

    def recent(self, after: int, limit: int) -> tuple[Event, ...] | None:
        """Events after the offset from memory, at most `limit`; None when memory does not reach back that far."""
        if after >= self.head:
            return ()
        ring = self._ring
        if not ring or ring[0][0].offset > after + 1:
            return None
        skip = 0
        if ring[0][0].offset <= after:
            # Offsets only grow but need not be consecutive, so the place is searched, from the near end.
            skip = len(ring)
            while skip and ring[skip - 1][0].offset > after:
                skip -= 1
        return tuple(ring[i][0] for i in range(skip, min(len(ring), skip + limit)))

    def take(self, events: Sequence[Event]) -> int:
        """For Channels only: move the head over new events; returns by how much the ring's bytes changed."""
        before = self.ring_bytes
        ring = self._ring
        for event in events:
            weight = _weight(event)
            ring.append((event, weight))
            self.ring_bytes += weight
        while len(ring) > RING_EVENTS or self.ring_bytes > RING_BYTES:
            self.ring_bytes -= ring.popleft()[1]
        self.head = events[-1].offset
        return self.ring_bytes - before

    def tell(self, events: Sequence[Event]) -> None:
        for follower in tuple(self._followers.values()):
            follower(events)
        self._wake()

    def drop_ring(self) -> int:
        freed, self.ring_bytes = self.ring_bytes, 0
        self._ring.clear()
        return freed

    def end(self) -> None:
        self.deleted = True
        self._followers.clear()
        mourners, self._mourners = tuple(self._mourners.values()), {}
        for mourner in mourners:
            mourner()
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            _resolve(waiter)

    async def changed(self, until: float, clock: Clock) -> None:
        """Return at the next commit, at deletion, or at monotonic `until`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        timer = clock.call_at(until, _resolve, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _forget(marked: dict[object, Any], mark: object) -> None:
    marked.pop(mark, None)


def _weight(event: Event) -> int:
    """About how many bytes of memory an event holds."""
    weight = 256
    for value in event.body.values():
        if isinstance(value, (bytes, str)):
            weight += len(value)
        elif isinstance(value, (list, dict)):
            weight += 256 * len(value)
    return weight
