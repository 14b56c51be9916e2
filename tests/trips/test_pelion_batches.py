"""A batch that a callback's receiver did not take is repeated as it was, byte for byte."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub.core.channels import DEFAULT
from hub.core.limits import Limits
from hub.dialects.pelion.record import PelionChannel, channel_of
from hub.model.event import EventDraft, EventKind
from hub.model.record import Kind
from tests.clock import ManualClock
from tests.trips.front_rig import PATIENCE, Front, running_front
from tests.trips.receiver import Receiver

pytestmark = pytest.mark.anyio

CALLBACK = "/v2/notification/callback"
OPTIONS = {
    "type": "v2",
    "cfg": {
        "include_uid": True,
        "include_timestamp": True,
        "include_original_ep": True,
        "deregistrations_as_object": True,
    },
}


async def happen(front: Front, *refs: str, payload: bytes = b"21.5") -> None:
    """For each ref a completion, and events of other kinds around it, in one commit."""
    drafts = []
    for ref in refs:
        resources = [{"path": "/3303/0/5700", "rt": "temp", "ct": None, "if": None, "obs": True}]
        device = {"device": f"d-{ref}", "name": "greenhouse"}
        value = {**device, "path": "/3303/0/5700", "payload": payload, "content_type": "text/plain", "max_age": 60}
        outcome = {"call_id": "c", "device": "lamp", "ref": ref, "status": 200, "payload": payload, "max_age": 5}
        registered = {**device, "type": "climate", "queue_mode": False, "resources": resources}
        drafts += [
            EventDraft(f"shop/{DEFAULT}", EventKind.NOTIFICATION, {**value, "seq": 1}),
            EventDraft(f"shop/{DEFAULT}", EventKind.COMPLETION, {**outcome, "content_type": "text/plain"}),
            EventDraft(f"shop/{DEFAULT}", EventKind.REGISTERED, registered),
            EventDraft(f"shop/{DEFAULT}", EventKind.EXPIRED, device),
        ]
    await front.core.hub.engine.log.append(drafts, {f"shop/{DEFAULT}": "acme"})


def record(front: Front) -> PelionChannel | None:
    return channel_of(front.core.hub.directory.record(Kind.CHANNEL, "shop"))


async def failed(front: Front, times: int) -> None:
    """Return when this many attempts in a row have failed and the schedule of the next is on disk."""
    async with asyncio.timeout(PATIENCE):
        while (found := record(front)) is None or found.failing is None or found.failing.times < times:
            front.record_written.clear()
            await front.record_written.wait()


async def registered(front: Front, receiver: Receiver) -> None:
    answer = await front.ask("PUT", CALLBACK, {"url": receiver.url, "serialization": OPTIONS})
    assert answer.status == 204
    await receiver.next()


async def test_what_comes_meanwhile_waits_for_the_next_batch(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.status = 500
    await happen(front, "a", "b")
    first = await receiver.next()
    await failed(front, 1)
    again = []
    for times, pause in enumerate((1, 2, 4), 1):
        await happen(front, f"later {times}")
        front.core.clock.advance(pause)
        again.append(await receiver.next())
        await failed(front, times + 1)
    receiver.status = 204
    front.core.clock.advance(8)
    taken, following = await receiver.next(), await receiver.next()

    assert [got.body for got in (*again, taken)] == [first.body] * 4
    assert [item["id"] for item in first.json["async-responses"]] == ["a", "b"]
    assert [item["id"] for item in following.json["async-responses"]] == ["later 1", "later 2", "later 3"]


async def test_a_failed_batch_is_the_same_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    clock = ManualClock()
    async with running_front(tmp_path, clock) as front:
        await registered(front, receiver)
        receiver.status = 500
        await happen(front, "a", "b")
        first = await receiver.next()
        await failed(front, 1)
        await happen(front, "later")
    async with running_front(tmp_path, clock) as front:
        await happen(front, "after")
        clock.advance(120)
        second = await receiver.next()
        await failed(front, 2)
    receiver.status = 204
    async with running_front(tmp_path, clock) as front:
        clock.advance(120)
        third, following = await receiver.next(), await receiver.next()

    assert [second.body, third.body] == [first.body] * 2
    assert [item["id"] for item in following.json["async-responses"]] == ["later", "after"]


async def test_what_nobody_is_told_does_not_change_the_batch_of_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    clock = ManualClock()
    async with running_front(tmp_path, clock) as front:
        options = {"type": "v2", "max_chunk_size": 100}
        await front.ask("PUT", CALLBACK, {"url": receiver.url, "serialization": options})
        await receiver.next()
        receiver.status = 500
        untold = EventDraft(f"shop/{DEFAULT}", EventKind.PROGRESS, {"call_id": "c", "device": "lamp"})
        await front.core.hub.engine.log.append([untold] * 60, {untold.channel: "acme"})
        async with asyncio.timeout(PATIENCE):
            while (place := front.pelion.channels.life("shop").position) is None or place.offset < 60:
                await front.core.settle()
        await happen(front, *(str(number) for number in range(30)))
        first = await receiver.next()
        await failed(front, 1)
    async with running_front(tmp_path, clock) as front:
        clock.advance(120)
        second = await receiver.next()

    assert first.json["offset"] == 160
    assert second.body == first.body


async def test_a_batch_that_tells_a_gap_is_repeated_with_it(tmp_path: Path, receiver: Receiver) -> None:
    clock = ManualClock()
    async with running_front(tmp_path, clock, Limits(pelion_queue=20_000)) as front:
        await registered(front, receiver)
        receiver.status = 500
        await happen(front, "a")
        await receiver.next()
        await failed(front, 1)
        await happen(front, *"bcdefghij", payload=b"x" * 1000)
        clock.advance(1)
        first = await receiver.next()
        await failed(front, 2)
        clock.advance(2)
        second = await receiver.next()

    assert first.json["gap"]["reason"] == "overflow"
    assert second.body == first.body


async def test_what_the_queue_gives_up_of_a_batch_is_not_repeated(tmp_path: Path, receiver: Receiver) -> None:
    async with running_front(tmp_path, limits=Limits(pelion_queue=20_000)) as front:
        await registered(front, receiver)
        receiver.status = 500
        await happen(front, "a")
        await receiver.next()
        await failed(front, 1)
        await happen(front, *(str(number) for number in range(20)), payload=b"x" * 1000)
        receiver.status = 204
        front.core.clock.advance(1)
        got = await receiver.next()

    assert got.json["gap"]["from"] == 1
    assert "a" not in [item["id"] for item in got.json["async-responses"]]
    assert got.json["async-responses"][-1]["id"] == "19"


async def test_a_registration_makes_the_batch_anew_with_its_options(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.status = 500
    await happen(front, "a")
    await receiver.next()
    await failed(front, 1)
    await happen(front, "b")
    receiver.status = 204
    await front.ask("PUT", CALLBACK, {"url": receiver.url})
    trial, got = await receiver.next(), await receiver.next()

    assert trial.body == b"{}"
    assert [set(item) & {"uid", "timestamp"} for item in got.json["async-responses"]] == [set(), set()]
    assert [item["id"] for item in got.json["async-responses"]] == ["a", "b"]
