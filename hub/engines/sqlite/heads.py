"""Where each channel's log stands, as the writer knows it, and the events of the commit being made.

A head moves in memory with each event and is written once per commit. When a commit does not happen `undo`
puts every head back, so that an offset that was never promised is given out again and none is skipped.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub.engines.sqlite import sql
from hub.engines.sqlite.moments import to_moment
from hub.engines.sqlite.rows import read_event
from hub.model.errors import NotFound
from hub.model.event import ChannelInfo, Event, EventDraft, Gap, Page, Position
from hub.model.ids import new_epoch

_SQL = sql.load("log")
_FIND = _SQL["find_channel"]
_INSERT = _SQL["insert_event"]

# What a row costs beyond its body, roughly; counted so that many empty events are not free.
ROW_BYTES = 48


@dataclass(slots=True)
class Head:
    """One channel: its number in the file, its last and its oldest retained offset."""

    id: int
    name: str
    account: str
    epoch: str
    head: int
    first: int
    bytes: int
    created_at: int

    def info(self) -> ChannelInfo:
        return ChannelInfo(
            self.name, self.account, self.epoch, self.head, self.first, self.bytes, to_moment(self.created_at)
        )


@dataclass(frozen=True, slots=True)
class PackedDraft:
    """An event draft with its body as it will be stored."""

    draft: EventDraft
    body: bytes


class Heads:
    """The heads of the channels in use, and what the open transaction did to them."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor
        self._known: dict[str, Head] = {}
        self._before: dict[str, tuple[Head | None, tuple[int, int, int]]] = {}
        self.events: list[Event] = []

    def find(self, name: str) -> Head | None:
        """The channel's head, from memory or the file; None when there is no such channel."""
        head = self._known.get(name)
        if head is None:
            row = self._cursor.execute(_FIND, (name,)).fetchone()
            if row is not None:
                head = self._known[name] = Head(*row)
        return head

    def make(self, name: str, account: str, at: int) -> Head:
        """A new channel with a fresh epoch; there must be none of that name."""
        epoch = new_epoch()
        self._cursor.execute(_SQL["make_channel"], (name, account, epoch, at))
        head = Head(self._cursor.lastrowid or 0, name, account, epoch, 0, 1, 0, at)
        self._before.setdefault(name, (None, (0, 0, 0)))
        self._known[name] = head
        return head

    def touch(self, head: Head) -> None:
        """Say that `head` is about to move."""
        if head.name not in self._before:
            self._before[head.name] = (head, (head.head, head.first, head.bytes))

    def add(self, head: Head, packed: PackedDraft, at: int) -> Event:
        """Append one event; it gets the next offset."""
        if head.name not in self._before:
            self._before[head.name] = (head, (head.head, head.first, head.bytes))
        place = head.head + 1
        draft, body = packed.draft, packed.body
        self._cursor.execute(_INSERT, (head.id, place, at, draft.kind.value, body))
        head.head = place
        head.bytes += len(body) + ROW_BYTES
        event = Event(head.name, head.epoch, place, to_moment(at), draft.kind, draft.body)
        self.events.append(event)
        return event

    def add_all(self, drafts: Sequence[PackedDraft], accounts: Mapping[str, str], at: int) -> list[Event]:
        """Append drafts, making missing channels for `accounts[channel]`.

        Raises NotFound, having written nothing, when a missing channel has no account there.
        """
        for packed in drafts:
            name = packed.draft.channel
            if name not in accounts and self.find(name) is None:
                raise NotFound(f"there is no channel {name}", code="channel-not-found")
        return [self.add(self.at_hand(packed.draft.channel, accounts, at), packed, at) for packed in drafts]

    def at_hand(self, name: str, accounts: Mapping[str, str], at: int) -> Head:
        """The channel's head, made for `accounts[name]` when there is none."""
        head = self.find(name)
        return self.make(name, accounts[name], at) if head is None else head

    def remove(self, head: Head) -> None:
        """Delete the channel; its events are cleared later, piece by piece."""
        self.touch(head)
        self._cursor.execute(_SQL["delete_channel"], (head.id,))
        self._cursor.execute(_SQL["note_gone"], (head.id,))
        del self._known[head.name]

    def flush(self) -> None:
        """Write the heads that moved."""
        for name in self._before:
            head = self._known.get(name)
            if head is not None:
                self._cursor.execute(_SQL["move_head"], (head.head, head.first, head.bytes, head.id))

    def keep(self) -> list[Event]:
        """The commit happened: gives its events, in order."""
        self._before.clear()
        events, self.events = self.events, []
        return events

    def undo(self) -> None:
        """The commit did not happen: every head stands where it stood before."""
        for name, (head, (last, first, size)) in self._before.items():
            if head is None:
                self._known.pop(name, None)
            else:
                head.head, head.first, head.bytes = last, first, size
                self._known[name] = head
        self._before.clear()
        self.events.clear()


def read_page(connection: sqlite3.Connection, name: str, after: Position, limit: int, max_bytes: int) -> Page:
    """Events after a position as one commit left them; raises NotFound for no such channel."""
    row = connection.execute(_FIND, (name,)).fetchone()
    if row is None:
        raise NotFound(f"there is no channel {name}", code="channel-not-found")
    head = Head(*row)
    gap, start = gap_before(head, after)
    events: list[Event] = []
    size = 0
    for found in connection.execute(_SQL["read"], (head.id, start, head.head, limit)):
        events.append(read_event(name, head.epoch, found))
        size += len(found[3]) + ROW_BYTES
        if size >= max_bytes:
            break
    return Page(head.epoch, tuple(events), gap)


def gap_before(head: Head, after: Position) -> tuple[Gap | None, int]:
    """What a reader at `after` cannot have, and the offset to go on after.

    A position with no epoch and offset 0 is the beginning. An offset above the head belongs to a life that this
    channel does not remember (a restored file), as a foreign epoch does: everything there is is told again.
    """
    beginning = after.offset <= 0 and after.epoch == ""
    if not beginning and (after.epoch != head.epoch or after.offset > head.head):
        return Gap(None, None, head.first - 1, "epoch"), head.first - 1
    if after.offset < head.first - 1:
        return Gap(max(after.offset, 0) + 1, head.first - 1, head.first - 1, "retention"), head.first - 1
    return None, after.offset

