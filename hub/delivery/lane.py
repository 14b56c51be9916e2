"""Lanes: the listeners of one channel and view that are caught up, and the one encoding they share.

A committed event is encoded once per lane; a dirty lane is flushed once per loop iteration, with one
join per batch and one write per listener: no task, no timer and no await per delivery. Whoever cannot
keep up leaves the lane and reads by itself (`listener.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Protocol

from hub.core.channel import Channel
from hub.delivery import frames
from hub.delivery.sink import Sink
from hub.delivery.view import View
from hub.model.event import Event

BATCH_BYTES = 64 * 1024
RING_BATCHES = 256
RING_BYTES = 1 << 20
ALL_RINGS_BYTES = 64 << 20

log = logging.getLogger("hub.delivery")


class Member(Protocol):
    """Who stands in a lane."""

    sink: Sink

    def broken(self) -> None:
        """The lane could not encode what was committed: nothing more will come."""
        ...


def batches(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Cut events into runs of about 64 KiB: a batch is written whole, so a position is always its end."""
    start = size = 0
    for at, event in enumerate(events):
        # Base64 makes four bytes of three; the rest is the message around the payload.
        weight = 256 + len(event.body.get("payload") or b"") * 4 // 3
        if size and size + weight > BATCH_BYTES:
            yield events[start:at]
            start, size = at, 0
        size += weight
    if start < len(events):
        yield events[start:]


def encode(view: View, events: Sequence[Event]) -> bytes:
    """The finished frames of some events, joined; empty when the view tells of none of them."""
    binary = view.binary
    return b"".join([frames.data(message, binary=binary) for message in view.render(events)])


class Lane:
    """The caught-up listeners of one channel and view. `offset` is how far all of them have been written."""

    __slots__ = (
        "_lanes",
        "_members",
        "_pending",
        "_ring",
        "_ring_bytes",
        "_unfollow",
        "_watchers",
        "channel",
        "listeners",
        "offset",
        "view",
    )

    def __init__(self, lanes: Lanes, channel: Channel, view: View) -> None:
        self.channel = channel
        self.view = view
        self.offset = channel.head
        self.listeners = 0
        self._lanes = lanes
        self._members: dict[Member, None] = {}
        self._watchers: dict[Member, Callable[[int], None]] = {}
        self._pending: list[Event] = []
        # Newest batches as (after, upto, frames): who left at a batch's end goes on with the same bytes.
        self._ring: deque[tuple[int, int, bytes]] = deque()
        self._ring_bytes = 0
        self._unfollow: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._members)

    def join(self, member: Member, offset: int, delivered: Callable[[int], None] | None = None) -> bool:
        """Let in a member that has everything up to `offset`; False when that is not everything there is.

        Between the caller's look at its position and this call there must be no await (decisions F3).
        """
        if offset != self.channel.head or self.channel.deleted:
            return False
        if self._pending:
            # Those that stand here lack what is pending, the newcomer has it: level them first.
            self.flush()
        if self._unfollow is None:
            self._unfollow = self.channel.follow(self._committed)
            self.offset = offset
        if self.offset != offset:
            return False
        self._members[member] = None
        if delivered is not None:
            self._watchers[member] = delivered
        return True

    def leave(self, member: Member) -> None:
        """Let a member go; it has everything up to `offset`."""
        self._members.pop(member, None)
        self._watchers.pop(member, None)
        if not self._members and self._unfollow is not None:
            # Nobody to write to: what is pending is in the channel's ring and in the log.
            self._unfollow()
            self._unfollow = None
            self._pending.clear()

    def recall(self, after: int) -> tuple[int, bytes] | None:
        """The encoded batch that goes on exactly at `after`, with the offset it leads to."""
        for start, upto, joined in reversed(self._ring):
            if start == after:
                return upto, joined
            if upto <= after:
                break
        return None

    def _committed(self, events: Sequence[Event]) -> None:
        if not self._pending:
            self._lanes.dirty(self)
        self._pending.extend(events)

    def flush(self) -> None:
        """Encode what is pending and write it to every member."""
        pending, self._pending = self._pending, []
        for batch in batches(pending):
            if not self._members:
                return
            try:
                joined = encode(self.view, batch)
            except Exception:
                log.exception("events of %s cannot be told in view %s", self.channel.name, self.view.key)
                for member in tuple(self._members):
                    member.broken()
                return
            after, self.offset = self.offset, batch[-1].offset
            self._remember(after, self.offset, joined)
            if joined:
                # A copy, because a full sink leaves from within its write; by then it has the batch.
                for member in tuple(self._members):
                    member.sink.write(joined)
            for watcher in tuple(self._watchers.values()):
                watcher(self.offset)

    def _remember(self, after: int, upto: int, joined: bytes) -> None:
        self._ring.append((after, upto, joined))
        self._grow(len(joined))
        while len(self._ring) > RING_BATCHES or self._ring_bytes > RING_BYTES or (
            len(self._ring) > 1 and self._lanes.ring_bytes > ALL_RINGS_BYTES
        ):
            self._grow(-len(self._ring.popleft()[2]))

    def _grow(self, size: int) -> None:
        self._ring_bytes += size
        self._lanes.ring_bytes += size

    def clear(self) -> None:
        """Forget the encoded batches."""
        self._ring.clear()
        self._grow(-self._ring_bytes)


class Lanes:
    """All lanes, by channel and view; a lane lives while it has listeners, caught up or not."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[Channel, Hashable], Lane] = {}
        self._dirty: list[Lane] = []
        self.ring_bytes = 0

    def __len__(self) -> int:
        return len(self._lanes)

    def lane(self, channel: Channel, view: View) -> Lane:
        """The lane of this channel and view."""
        key = (channel, view.key)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self, channel, view)
        return lane

    def drop(self, lane: Lane) -> None:
        """Forget a lane that has no listeners left."""
        self._lanes.pop((lane.channel, lane.view.key), None)
        lane.clear()

    def dirty(self, lane: Lane) -> None:
        """Flush the lane in this loop iteration's end; all that is committed until then leaves as one."""
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(lane)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for lane in dirty:
            lane.flush()
