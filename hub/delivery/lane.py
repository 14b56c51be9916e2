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
from typing import NamedTuple, Protocol

from hub.core.channel import Channel
from hub.core.stats import Stats
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
        """The lane could not tell what was committed: nothing more will come."""
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


class Joined(NamedTuple):
    """The finished frames of some messages, which tell of everything up to `upto`; empty when the view tells of
    nothing there."""

    upto: int
    messages: int
    frames: bytes


def encode(view: View, events: Sequence[Event]) -> Joined:
    """The messages of some events as frames."""
    binary = view.binary
    messages = view.render(events)
    joined = b"".join([frames.data(message, binary=binary) for message in messages])
    return Joined(events[-1].offset, len(messages), joined)


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
        # Newest batches with the offset before each: who left at a batch's end goes on with the same bytes.
        self._ring: deque[tuple[int, Joined]] = deque()
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

    def recall(self, after: int) -> Joined | None:
        """The encoded batch that goes on exactly at `after`."""
        for start, joined in reversed(self._ring):
            if start == after:
                return joined
            if joined.upto <= after:
                break
        return None

    def _committed(self, events: Sequence[Event]) -> None:
        if not self._pending:
            self._lanes.dirty(self)
        self._pending.extend(events)

    def flush(self) -> None:
        """Encode what is pending and write it to every member. Whatever breaks ends those it concerns, aloud."""
        pending, self._pending = self._pending, []
        try:
            for batch in batches(pending):
                if not self._members:
                    return
                joined = encode(self.view, batch)
                after, self.offset = self.offset, joined.upto
                self._remember(after, joined)
                self._tell(joined)
        except Exception:
            log.exception("events of %s cannot be told in view %s", self.channel.name, self.view.key)
            for member in tuple(self._members):
                self._break(member)

    def _tell(self, joined: Joined) -> None:
        """Write to all; a sink that breaks costs its own member only."""
        if joined.frames:
            # A copy, because a full sink leaves from within its write; by then it has the batch.
            members = tuple(self._members)
            self._lanes.stats.deliveries += joined.messages * len(members)
            for member in members:
                try:
                    member.sink.write(joined.frames)
                except Exception:
                    log.exception("a listener of %s cannot be written to", self.channel.name)
                    self._break(member)
        for member, watcher in tuple(self._watchers.items()):
            try:
                watcher(self.offset)
            except Exception:
                log.exception("a listener of %s cannot be followed", self.channel.name)
                self._break(member)

    def _break(self, member: Member) -> None:
        self.leave(member)
        try:
            member.broken()
        except Exception:
            log.exception("a listener of %s cannot be ended", self.channel.name)

    def _remember(self, after: int, joined: Joined) -> None:
        self._ring.append((after, joined))
        self._grow(len(joined.frames))
        while len(self._ring) > RING_BATCHES or self._ring_bytes > RING_BYTES or (
            len(self._ring) > 1 and self._lanes.ring_bytes > ALL_RINGS_BYTES
        ):
            self._grow(-len(self._ring.popleft()[1].frames))

    def _grow(self, size: int) -> None:
        self._ring_bytes += size
        self._lanes.ring_bytes += size

    def clear(self) -> None:
        """Forget the encoded batches."""
        self._ring.clear()
        self._grow(-self._ring_bytes)


class Lanes:
    """All lanes, by channel and view; a lane is known while it has listeners, caught up or not."""

    def __init__(self, stats: Stats | None = None) -> None:
        self.stats = stats or Stats()
        self._lanes: dict[tuple[Channel, Hashable], Lane] = {}
        self._dirty: list[Lane] = []
        self.ring_bytes = 0

    def __len__(self) -> int:
        return len(self._lanes)

    def lane(self, channel: Channel, view: View) -> Lane:
        """The lane of this channel and view; a new one is known to others from its first listener on."""
        lane = self._lanes.get((channel, view.key))
        return lane if lane is not None else Lane(self, channel, view)

    def enter(self, lane: Lane) -> Lane:
        """Count one listener more: in this lane, or in the one that others have opened in its place meanwhile."""
        lane = self._lanes.setdefault((lane.channel, lane.view.key), lane)
        lane.listeners += 1
        return lane

    def exit(self, lane: Lane) -> None:
        """Count one listener less; a lane that has none left is forgotten."""
        lane.listeners -= 1
        if not lane.listeners:
            key = lane.channel, lane.view.key
            if self._lanes.get(key) is lane:
                del self._lanes[key]
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
