"""The notification channel of an application as it is stored: one record with its kind, options and beginning.

The address and the headers of a callback are the record's sealed secret, since either may hold a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import orjson

from hub.dialects.pelion.view import PelionView
from hub.dialects.pelion.wire import MECHANISMS, Serialization
from hub.dialects.pelion.withdrawn import Withdrawn
from hub.model.event import Position
from hub.model.record import Kind, Record


@dataclass(frozen=True, slots=True)
class Failing:
    """A callback that fails: since when, how often in a row, when it is tried next, and where its batch ends."""

    since: datetime
    times: int
    due_at: datetime
    upto: Position | None = None


@dataclass(frozen=True, slots=True)
class PelionChannel:
    """An application's channel record.

    `made` is the head when it was made, `news` the offset after which values were news then, `seen` when somebody was
    last there to take from it, `active` when the last event came. `key` (its id) registered it; `token` is another
    after each registration of a callback. `singly`: its callback is told values of one resource in each message.
    """

    application: str
    account: str
    kind: str
    options: Serialization | None
    made: Position
    seen: datetime
    active: datetime
    key: str = ""
    token: str = ""
    url: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    failing: Failing | None = None
    news: int | None = None
    singly: bool = False

    def view(self, withdrawn: Withdrawn) -> PelionView:
        """What its listener sees, less what the application has taken back."""
        return PelionView(
            self.options or Serialization(), self.made, self.news, self.singly, withdrawn, withdrawn.taken
        )


def channel_record(channel: PelionChannel) -> Record:
    """The record of a channel."""
    failing = channel.failing
    body: dict[str, Any] = {
        "kind": channel.kind,
        "options": None if channel.options is None else asdict(channel.options),
        "made": [channel.made.epoch, channel.made.offset],
        "seen": channel.seen.isoformat(),
        "active": channel.active.isoformat(),
        "key": channel.key,
        "token": channel.token,
        "news": channel.news,
        "singly": channel.singly,
        "failing": None if failing is None else _stored(failing),
    }
    secret = orjson.dumps({"url": channel.url, "headers": dict(channel.headers)}) if channel.url else None
    return Record(Kind.CHANNEL, channel.application, channel.account, body, secret=secret)


def channel_of(record: Record | None) -> PelionChannel | None:
    """The channel that a record tells of; None for no record, and for one that is not this dialect's."""
    if record is None or record.body.get("kind") not in MECHANISMS:
        return None
    body = record.body
    options, failing = body["options"], body.get("failing")
    secret = {} if record.secret is None else orjson.loads(record.secret)
    seen = datetime.fromisoformat(body["seen"])
    return PelionChannel(
        application=record.id,
        account=record.account,
        kind=body["kind"],
        options=None if options is None else Serialization(**options),
        made=Position(*body["made"]),
        seen=seen,
        active=datetime.fromisoformat(body["active"]) if "active" in body else seen,
        key=body.get("key", ""),
        token=body.get("token", ""),
        url=secret.get("url", ""),
        headers=secret.get("headers", {}),
        failing=None if failing is None else _failing(*failing),
        news=body.get("news"),
        singly=body.get("singly", False),
    )


def _stored(failing: Failing) -> list[Any]:
    upto = [] if failing.upto is None else [failing.upto.epoch, failing.upto.offset]
    return [failing.since.isoformat(), failing.times, failing.due_at.isoformat(), *upto]


def _failing(since: str, times: int, due_at: str, *upto: Any) -> Failing:
    ends = Position(*upto) if upto else None
    return Failing(datetime.fromisoformat(since), times, datetime.fromisoformat(due_at), ends)
