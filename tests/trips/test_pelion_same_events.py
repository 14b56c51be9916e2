"""A WebSocket client, a receiver of callbacks and a long-poller are told the same: events of every kind, in the same
order, with the same ids. What the native API tells of their channels is what they are held against."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hub.delivery.envelope import LISTS
from hub.model.event import EventKind
from hub.model.principal import Scope
from hub.model.record import Kind, Record
from hub.ports.adapter import EventKind as Heard
from tests.trips.front_rig import KEY, PATIENCE, Front
from tests.trips.pelion_pull_rig import CALLBACK, PULL, WEBSOCKET, open_poll
from tests.trips.pelion_rig import LINKS, Observed, running_observed
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio

KINDS = {*LISTS.values()} - {LISTS[EventKind.PROGRESS]}
GONE = {LISTS[EventKind.DEREGISTERED], LISTS[EventKind.EXPIRED]}
OPTIONS = {
    "serialization": {
        "type": "v2", "max_chunk_size": 100, "cfg": {"include_uid": True, "deregistrations_as_object": True},
    }
}  # fmt: skip
WARM, WET = "/3303/0/5700", "/3303/0/5701"


class Told(NamedTuple):
    """One event as somebody was told it: its id, the list that it was in, and the item without what options add."""

    epoch: str
    offset: int
    kind: str
    item: Any


def lists(message: Any) -> dict[str, list[Any]]:
    """The lists of a message."""
    return {kind: message[kind] for kind in KINDS & message.keys()}


def by_uid(message: Any) -> list[Told]:
    """The items of a message that has uids, in the order of these, but as they stand within each list."""
    told: list[Told] = []
    for kind, items in lists(message).items():
        found = []
        for item in items:
            epoch, offset = item.pop("uid").rsplit("-", 1)
            found.append(Told(epoch, int(offset), kind, item["ep"] if kind in GONE else item))
        assert found == sorted(found, key=lambda one: one.offset)
        told += found
    return sorted(told, key=lambda one: one.offset)


def by_list(told: Iterable[Told]) -> dict[str, list[Any]]:
    """Items as a message without uids has them."""
    found: dict[str, list[Any]] = {}
    for one in told:
        found.setdefault(one.kind, []).append(one.item)
    return found


async def kept(front: Front, key: str) -> list[Told]:
    """The events of an application's channel, as the native API tells them."""
    told: list[Told] = []
    while True:
        after = f"offset={told[-1].offset}&epoch={told[-1].epoch}" if told else "offset=0"
        answer = await front.ask("GET", f"/v1/channels/default/messages?{after}&wait=0", key=key)
        messages = answer.json["messages"] if answer.body else []
        if not messages:
            return told
        for message in messages:
            [(kind, [item])] = lists(message).items()
            if kind == LISTS[EventKind.COMPLETION]:
                del item["call-id"], item["device"]
            told.append(Told(message["epoch"], message["offset"], kind, item))


async def call(front: Front, keys: Iterable[str], ref: str, status: int) -> None:
    """A call by each application that ends with this status."""
    for key in keys:
        asked = {"method": "GET", "uri": WARM}
        answer = await front.ask("POST", f"/v2/device-requests/lamp?async-id={ref}", asked, key=key)
        (await front.core.adapter.next()).reply(status, b"said")
        await front.ended(answer.headers["hub-call-id"])


async def story(front: Front, observed: Observed, keys: dict[str, str]) -> None:
    """Events of every kind, for all applications in the same order."""
    await observed.register(name="greenhouse-4", type="climate")
    for number, path in enumerate((WARM, WET)):
        for application, key in keys.items():
            await front.ask("PUT", f"/v2/subscriptions/lamp{path}", key=key)
            await observed.values(number + 1, application)
    await observed.value(b"21.5")
    await observed.heard(Heard.UPDATED, attrs={"links": LINKS[:2]})
    await call(front, keys.values(), "good", 200)
    await observed.register("fan")
    await call(front, keys.values(), "late", 504)
    await observed.heard(Heard.DEREGISTERED, "fan")
    await observed.value(b"40", WET)
    await call(front, keys.values(), "refused", 404)
    await observed.register("gone", lifetime=60)
    await observed.heard(Heard.EXPIRED, "gone")
    together = [(WARM if number < 120 else WET, b"%d" % number, "text/plain") for number in range(150)]
    await observed.heard(Heard.NOTIFICATION, target=WARM, attrs={"observed": True, "values": together})
    await call(front, keys.values(), "last", 200)


async def collected(ask: Callable[[], Awaitable[Any]], count: int) -> list[Any]:
    """Messages until they have so many items."""
    messages: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while sum(len(items) for message in messages for items in lists(message).values()) < count:
            messages.append(await ask())
    return messages


async def test_all_channels_tell_the_same_events_of_every_kind_in_the_same_order_with_the_same_ids(
    tmp_path: Path,
) -> None:
    async with running_observed(tmp_path, again=True) as (front, observed), receiving() as receiver:
        keys = {"shop": KEY}
        for application in ("desk", "hall"):
            await front.core.hub.directory.put(Record(Kind.APPLICATION, application, "acme", {"name": application}))
            keys[application] = await front.key(Scope.CALL, Scope.LISTEN, application=application)
        polled = [await open_poll(front)]
        await front.ask("PUT", CALLBACK, {"url": receiver.url, **OPTIONS}, key=keys["desk"])
        assert (await receiver.next()).body == b"{}"
        await front.ask("PUT", WEBSOCKET, OPTIONS, key=keys["hall"])
        async with front.socket("/v2/notification/websocket-connect", key=keys["hall"]) as socket:
            await story(front, observed, keys)
            whole = {application: await kept(front, key) for application, key in keys.items()}
            count = len(whole["shop"])

            async def poll() -> Any:
                return (await polled.pop() if polled else await front.ask("GET", PULL)).json

            async def delivery() -> Any:
                return (await receiver.next()).json

            async def frame() -> Any:
                return json.loads(await socket.recv())

            pulled = await collected(poll, count)
            called = await collected(delivery, count)
            framed = await collected(frame, count)

    # The three channels hold the same story, and all of it.
    [events] = {json.dumps([one[1:] for one in told]) for told in whole.values()}
    assert {kind for _, kind, _ in json.loads(events)} == KINDS
    assert [one for message in called for one in by_uid(message)] == whole["desk"]
    assert [one for message in framed for one in by_uid(message)] == whole["hall"]
    # A poll's items have no ids: each answer is what lies between its place and that of the one before.
    rest = whole["shop"]
    for message in pulled:
        last = [(one.epoch, one.offset) for one in rest].index((message["epoch"], message["offset"]))
        part, rest = rest[: last + 1], rest[last + 1 :]
        assert lists(message) == by_list(part)
    assert rest == []
