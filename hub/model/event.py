"""Events: what is told on a channel, in order, with a position that never changes.

The body of an event is neutral (plain values and bytes); a dialect's view turns it into its own
message. One event is one item and one offset (decisions F1).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple


class EventKind(enum.Enum):
    """What an event tells. The values are stored and appear in native filters."""

    COMPLETION = "completion"
    NOTIFICATION = "notification"
    REGISTERED = "registered"
    UPDATED = "updated"
    DEREGISTERED = "deregistered"
    EXPIRED = "expired"
    PROGRESS = "progress"


class Position(NamedTuple):
    """A place in a channel's log: everything up to `offset` has been seen, in the life `epoch`.

    An offset alone would be a lie after the channel was made again: the same numbers would name
    other events. The epoch tells the two lives apart.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event that is not committed yet. `body` holds str, int, float, bool, None, bytes, list, dict only.

    Bodies by kind:
    COMPLETION: call_id, ref, device, name, status, payload (bytes), content_type, max_age (seconds or
    None), error, ending, dialect, echo, ended_at (ISO text), native, device_time (ISO text or None).
    NOTIFICATION: device, name, path, payload, content_type, max_age, seq, device_time (ISO text or None: the time
    that the device gave the value), values (what the payload says, where the adapter decoded it; else absent).
    REGISTERED, UPDATED: device, name, type, queue_mode, resources (list of {uri, rt, ct, obs, if}).
    DEREGISTERED, EXPIRED: device, name.
    """

    channel: str
    kind: EventKind
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """A committed event: it has its place, and the same place for ever."""

    channel: str
    epoch: str
    offset: int
    at: datetime
    kind: EventKind
    body: Mapping[str, Any]

    @property
    def position(self) -> Position:
        """The position of a reader that has seen this event and nothing after it."""
        return Position(self.epoch, self.offset)


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that a reader asked for and cannot have.

    `start`..`end` are the missing offsets, None when the epoch changed and they cannot be told;
    `next` is the position to store: the next event is greater (decisions F4).
    """

    start: int | None
    end: int | None
    next: int
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a channel's log, told after a gap if there was one."""

    epoch: str
    events: tuple[Event, ...]
    gap: Gap | None = None


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """A channel as its log knows it: `first` is the oldest retained offset (head + 1 when empty)."""

    name: str
    account: str
    epoch: str
    head: int
    first: int
    bytes: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ReaderInfo:
    """A named reader of a channel: how far it came, and when its position was last stored or confirmed."""

    channel: str
    name: str
    position: Position
    used_at: datetime
