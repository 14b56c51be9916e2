"""Where a subscription begins: what a client may say of its position, and what that means on a channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub.core.channels import Channel
from hub.delivery.listener import Listener
from hub.delivery.reader import Reader
from hub.model.errors import BadRequest
from hub.model.event import Position

NOW = "now"
FIRST = "first"
LAST = "last"

_MOST_NAME = 128
_MOST_EPOCH = 64
_MOST_OFFSET = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Start:
    """A position as a client asked for it: a word, or an exact place. `said` tells whether it asked at all."""

    word: str = NOW
    exact: Position | None = None
    said: bool = False

    def on(self, channel: Channel) -> Position:
        """The position on this channel (decisions F4). Raises BadRequest for one beyond the head."""
        if self.exact is None:
            offset = {NOW: channel.head, FIRST: 0, LAST: max(0, channel.head - 1)}[self.word]
            return Position(channel.epoch, offset)
        exact = Position(self.exact.epoch or channel.epoch, self.exact.offset)
        if exact.epoch == channel.epoch and exact.offset > channel.head:
            raise BadRequest("the offset is beyond the channel's head", code="bad-position")
        return exact


def start_of(members: Mapping[str, Any]) -> Start:
    """The start that `from`, `epoch` and `offset` ask for; numbers are integers, as JSON and MessagePack have them.

    Raises BadRequest (`bad-position`), also for an offset above 0 without an epoch: it could name other events
    than the client means.
    """
    epoch, offset, word = members.get("epoch"), members.get("offset"), members.get("from")
    if offset is None and epoch is None:
        if word is None:
            return Start()
        if word not in (NOW, FIRST, LAST):
            raise BadRequest("from is now, first or last", code="bad-position")
        return Start(word, said=True)
    if word is not None:
        raise BadRequest("give either from, or epoch and offset", code="bad-position")
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset <= _MOST_OFFSET:
        raise BadRequest("the offset is an integer from 0", code="bad-position")
    if epoch is None:
        if offset > 0:
            raise BadRequest("an offset above 0 needs its epoch", code="bad-position")
        return Start(exact=Position("", 0), said=True)
    if not isinstance(epoch, str) or not 1 <= len(epoch) <= _MOST_EPOCH:
        raise BadRequest("the epoch is a text", code="bad-position")
    return Start(exact=Position(epoch, offset), said=True)


def start_of_query(query: Mapping[str, str]) -> Start:
    """As `start_of`, from the words of a URL."""
    members: dict[str, Any] = {name: query[name] for name in ("epoch", "from") if name in query}
    if "offset" in query:
        digits = query["offset"]
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
            raise BadRequest("the offset is an integer from 0", code="bad-position")
        members["offset"] = int(digits)
    return start_of(members)


def reader_name(application: str, name: Any) -> str:
    """The stored name of a durable subscription. Raises BadRequest for one that is not 1 to 128 plain characters."""
    if not isinstance(name, str) or not 1 <= len(name) <= _MOST_NAME or not name.isprintable():
        raise BadRequest("a subscription's name has 1 to 128 printable characters", code="bad-subscription-name")
    return f"{application}/{name}"


@dataclass(slots=True)
class Subscription:
    """One channel on one socket. `own`: the socket was opened for it (`?channel=`) and ends with it."""

    channel: Channel
    listener: Listener
    own: bool
    reader: Reader | None = None
    leave_seat: Any = None
    unmourn: Any = None
