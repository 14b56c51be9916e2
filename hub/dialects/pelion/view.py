"""The Connect form of a channel: NotificationMessages that carry many items, only the non-empty lists. Pure.

Every success is a 200. An outcome of 500 and above has a message of its own, because a vendor's SDK throws away
a whole message whose failures are all of that kind. Another one passes over all values of a message behind the first
that it has no queue for, so it is told values of one resource only in each. The last item's place stands beside the
lists.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from hub.delivery.envelope import LISTS, async_response, endpoint, notification
from hub.dialects.pelion.wire import Serialization
from hub.dialects.pelion.withdrawn import Withdrawn
from hub.model.event import Event, EventKind, Gap, Position

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MILLISECOND = timedelta(milliseconds=1)
_FEW = 32
"""Events that are looked at for a message which may end at the next one: the rest would be read again each time."""


@dataclass(frozen=True, slots=True)
class PelionView:
    """The view of one channel record.

    `made` is the channel's head when the record was made: of the events up to it only completions are shown, so that
    an early request keeps its answer (decisions G), and values after `news`, since a subscription may get ahead of the
    first poll by a moment. `singly`: a message has values of one resource only. `withdrawn` is what the application has
    taken back, which may grow; `taken` says how much it was, for messages that were made before.
    """

    options: Serialization = field(default_factory=Serialization)
    made: Position = field(default_factory=lambda: Position("", 0))
    news: int | None = None
    singly: bool = False
    withdrawn: Withdrawn = field(default_factory=Withdrawn, compare=False)
    taken: int = 0

    @property
    def key(self) -> Hashable:
        """Equal for equal options and equal beginnings, on one application's channel."""
        return ("pelion", self.options, self.made, self.news, self.singly, self.taken)

    @property
    def page(self) -> int:
        """How many events are worth a look for one message."""
        return min(_FEW, self.options.max_chunk_size) if self.singly else self.options.max_chunk_size

    @property
    def binary(self) -> bool:
        """Messages are text."""
        return False

    def render(self, events: Sequence[Event]) -> list[bytes]:
        """The messages that tell of these events; none if all of them are filtered."""
        return [orjson.dumps(self._message(batch)) for batch in self._batches(events)]

    def gap(self, gap: Gap, channel: str, epoch: str) -> bytes | None:
        """A message without items whose extra member tells what is missing; the SDKs ignore it."""
        return orjson.dumps({"gap": _told(gap), "epoch": epoch, "offset": gap.next})

    def first(self, events: Sequence[Event], gap: Gap | None = None) -> tuple[bytes | None, int]:
        """The first message that tells of these events, and of the gap before them; None if all of them are filtered.

        The second value is the offset up to which a reader has everything then, 0 if there are no events.
        """
        batch = next(self._batches(events), None)
        if batch is None:
            return None, events[-1].offset if events else 0
        message = self._message(batch)
        if gap is not None:
            message["gap"] = _told(gap)
        return orjson.dumps(message), batch[-1].offset

    def shows(self, event: Event) -> bool:
        """Whether the event is told at all."""
        if event.kind is EventKind.COMPLETION:
            return True
        past = self.made.offset
        if event.kind is EventKind.NOTIFICATION:
            if self.withdrawn.hides(event):
                return False
            past = past if self.news is None else self.news
        old = event.epoch == self.made.epoch and event.offset <= past
        return not old and event.kind is not EventKind.PROGRESS

    def _batches(self, events: Sequence[Event]) -> Iterator[list[Event]]:
        batch: list[Event] = []
        resource: tuple[str, str] | None = None
        for event in events:
            if not self.shows(event):
                continue
            alone = event.kind is EventKind.COMPLETION and event.body["status"] >= 500
            named = (event.body["device"], event.body["path"]) if event.kind is EventKind.NOTIFICATION else None
            another = self.singly and None not in (named, resource) and named != resource
            if batch and (alone or another or len(batch) >= self.options.max_chunk_size):
                yield batch
                batch, resource = [], None
            resource = named or resource
            batch.append(event)
            if alone:
                yield batch
                batch, resource = [], None
        if batch:
            yield batch

    def _message(self, batch: Sequence[Event]) -> dict[str, Any]:
        message: dict[str, Any] = {}
        for event in batch:
            message.setdefault(LISTS[event.kind], []).append(self._item(event))
        message["epoch"] = batch[-1].epoch
        message["offset"] = batch[-1].offset
        return message

    def _item(self, event: Event) -> Any:
        body = event.body
        match event.kind:
            case EventKind.COMPLETION:
                item = async_response(body)
            case EventKind.NOTIFICATION:
                item = notification(body)
            case EventKind.REGISTERED | EventKind.UPDATED:
                item = endpoint(body)
            case _:
                if not self.options.deregistrations_as_object:
                    return body["device"]
                item = {"ep": body["device"]}
        if self.options.include_uid:
            item["uid"] = f"{event.epoch}-{event.offset}"
        if self.options.include_timestamp:
            item["timestamp"] = (event.at - _EPOCH) // _MILLISECOND
        if self.options.include_original_ep and body.get("name") is not None:
            item["original-ep"] = body["name"]
        return item


def _told(gap: Gap) -> dict[str, Any]:
    return {"from": gap.start, "to": gap.end, "next": gap.next, "reason": gap.reason}
