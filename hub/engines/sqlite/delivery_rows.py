"""Delivery rows as they are written with their events."""

from __future__ import annotations

from collections.abc import Sequence

from hub.engines.sqlite import sql
from hub.engines.sqlite.heads import Heads
from hub.engines.sqlite.moments import to_micros
from hub.engines.sqlite.operation import Transaction
from hub.engines.sqlite.rows import pack
from hub.model.delivery import DeliveryDraft
from hub.model.event import Event

_INSERT = sql.load("outbox")["insert_delivery"]


class PackedDelivery:
    """A delivery draft with its attributes as they will be stored."""

    __slots__ = ("attrs", "draft", "due_at")

    def __init__(self, draft: DeliveryDraft, events: int) -> None:
        if not 0 <= draft.event < events:
            raise ValueError(f"a delivery of event {draft.event} in a commit of {events}")
        self.draft = draft
        self.due_at = to_micros(draft.due_at)
        self.attrs = None if draft.attrs is None else pack(draft.attrs)


def insert_deliveries(tx: Transaction, deliveries: Sequence[PackedDelivery], events: Sequence[Event]) -> None:
    """Write the rows of a commit's deliveries, each beside the event it carries."""
    for packed in deliveries:
        draft = packed.draft
        event = events[draft.event]
        tx.cursor.execute(_INSERT, (
            draft.endpoint, draft.account, _number(tx.heads, event.channel), event.epoch, event.offset, packed.due_at,
            draft.url, draft.view, packed.attrs,
        ))


def _number(heads: Heads, channel: str) -> int:
    head = heads.find(channel)
    assert head is not None, "the event was just written to it"
    return head.id
