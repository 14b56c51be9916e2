"""The channel log of an engine: what is told to listeners, in order, for as long as it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from hub.model.event import ChannelInfo, Event, EventDraft, Page, Position, ReaderInfo


class ChannelLog(Protocol):
    """Named, ordered, retained logs of events."""

    async def open(self, channel: str, account: str) -> ChannelInfo:
        """The channel, made (with a fresh epoch) if there was none."""
        ...

    async def append(self, drafts: Sequence[EventDraft], accounts: Mapping[str, str]) -> Sequence[Event]:
        """Add events in one commit; missing channels are made for `accounts[channel]`."""
        ...

    async def read(self, channel: str, after: Position, limit: int, max_bytes: int = 1 << 20) -> Page:
        """Events after a position, at most `limit` and about `max_bytes`.

        A gap is told when the epoch is another (`reason="epoch"`) or the next offset is no longer retained
        (`"retention"`); the page then begins at what there is. Raises NotFound for no such channel.
        """
        ...

    async def channels(self, account: str | None = None) -> Sequence[ChannelInfo]:
        """All channels, of one account or of all."""
        ...

    async def info(self, channel: str) -> ChannelInfo | None:
        """One channel, None if there is none; it is not made by looking."""
        ...

    async def delete(self, channel: str) -> bool:
        """Remove a channel with its events and stored positions; a new one of that name gets a new epoch."""
        ...

    async def store_position(self, channel: str, reader: str, position: Position, *, forward_only: bool = True) -> None:
        """Remember how far a named reader came, and that it was here now; an older position of the same epoch moves
        nothing."""
        ...

    async def position(self, channel: str, reader: str) -> Position | None:
        """The stored position of a named reader."""
        ...

    async def readers(self, *, application: str | None = None, channel: str | None = None) -> Sequence[ReaderInfo]:
        """Named readers of one channel, of an application's channels, or of all; by channel and name."""
        ...

    async def forget_reader(self, channel: str, reader: str) -> None:
        """Remove a named reader's position."""
        ...

    async def trim(self, before: datetime, max_events: int, max_bytes: int, limit: int = 500) -> int:
        """Remove events that retention no longer covers, at most `limit` per commit; returns how many."""
        ...
