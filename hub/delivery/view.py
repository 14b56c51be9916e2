"""What turns events into messages: a view is pure, and listeners with equal views share one encoding."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from hub.model.event import Event, Gap


class View(Protocol):
    """A dialect's form of a channel.

    `key` says which views are the same: their listeners stand in one lane. `binary`: messages are
    binary WebSocket messages, otherwise UTF-8 text.
    """

    @property
    def key(self) -> Hashable: ...

    @property
    def binary(self) -> bool: ...

    def render(self, events: Sequence[Event]) -> list[bytes]:
        """The messages that tell of these events, in order: fewer where it batches, none where it filters."""
        ...

    def gap(self, gap: Gap, channel: str, epoch: str) -> bytes | None:
        """The message that tells of a gap on the channel (full name), None when the view has none."""
        ...
