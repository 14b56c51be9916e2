"""Trials and deliveries of callbacks side by side: nobody's hanging receiver is waited for by anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.core.channels import DEFAULT
from hub.core.limits import Limits
from hub.model.event import EventDraft, EventKind
from hub.model.principal import Scope
from hub.model.record import Kind, Record
from tests.trips.front_rig import FOREIGN, KEY, Answer, Front, running_front
from tests.trips.receiver import Receiver, receiving

pytestmark = pytest.mark.anyio

CALLBACK = "/v2/notification/callback"
CHANNEL = "/v2/notification/channel"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """The one that hangs."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def other() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def put(front: Front, receiver: Receiver, key: str = KEY) -> Answer:
    return await front.ask("PUT", CALLBACK, {"url": receiver.url}, key=key)


async def trying(front: Front, receiver: Receiver, key: str = KEY) -> asyncio.Task[Answer]:
    """A trial that hangs."""
    receiver.let_go.clear()
    task = asyncio.ensure_future(put(front, receiver, key))
    await receiver.next()
    return task


async def another_application(front: Front, name: str, account: str = "acme") -> str:
    """Its key."""
    body = {"name": name, "account": account}
    await front.core.hub.directory.put(Record(Kind.APPLICATION, name, account, body))
    return await front.key(*Scope, application=name)


async def completed(front: Front, application: str, ref: str, account: str = "acme") -> None:
    body = {"ref": ref, "call_id": "c", "device": "d", "status": 200, "payload": b""}
    draft = EventDraft(f"{application}/{DEFAULT}", EventKind.COMPLETION, body)
    await front.core.hub.engine.log.append([draft], {draft.channel: account})


async def test_an_application_has_one_trial_at_a_time(front: Front, receiver: Receiver, other: Receiver) -> None:
    first = await trying(front, receiver)
    second = await put(front, other)

    assert (second.status, second.text) == (429, "ANOTHER_TRIAL")
    assert "retry-after" in second.headers
    assert other.got.empty()
    receiver.let_go.set()
    assert (await first).status == 204
    assert (await put(front, other)).status == 204


async def test_a_trial_that_failed_leaves_the_place_to_the_next(front: Front, receiver: Receiver) -> None:
    receiver.status = 500
    assert [(await put(front, receiver)).status for _ in range(3)] == [400] * 3


async def test_a_trial_that_hangs_delays_no_other_applications_trial(
    front: Front, receiver: Receiver, other: Receiver
) -> None:
    first = await trying(front, receiver)

    assert (await put(front, other, FOREIGN)).status == 204
    receiver.let_go.set()
    await first


async def test_trials_take_no_places_of_deliveries(tmp_path: Path, receiver: Receiver, other: Receiver) -> None:
    async with running_front(tmp_path, limits=Limits(callbacks_at_once=1)) as front:
        await put(front, other, FOREIGN)
        await other.next()
        first = await trying(front, receiver)
        await completed(front, "stall", "a", "other")

        assert (await other.next()).json["async-responses"][0]["id"] == "a"
        receiver.let_go.set()
        await first


async def test_an_account_whose_trials_hang_leaves_room_for_others(
    tmp_path: Path, receiver: Receiver, other: Receiver
) -> None:
    async with running_front(tmp_path, limits=Limits(trials_at_once=2, trials_per_account=1)) as front:
        first = await trying(front, receiver)
        second = asyncio.ensure_future(put(front, receiver, await another_application(front, "shop2")))
        assert (await put(front, other, FOREIGN)).status == 204
        assert receiver.got.empty()
        front.core.clock.advance(5)
        refused = await second
        receiver.let_go.set()
        await first

    assert (refused.status, refused.text) == (503, "TOO_BUSY")


async def test_trials_count_at_the_rate_of_the_key(tmp_path: Path, receiver: Receiver) -> None:
    async with running_front(tmp_path, limits=Limits(calls_per_second=1, burst=2)) as front:
        answers = [await put(front, receiver) for _ in range(3)]

    assert [(answer.status, answer.text) for answer in answers] == [(204, ""), (204, ""), (400, "LIMITS_EXCEEDED")]
    assert receiver.got.qsize() == 2


async def test_an_account_whose_receivers_hang_leaves_room_for_others(
    tmp_path: Path, receiver: Receiver, other: Receiver
) -> None:
    async with running_front(tmp_path, limits=Limits(callbacks_at_once=2, callbacks_per_account=1)) as front:
        for key in (KEY, await another_application(front, "shop2")):
            await put(front, receiver, key)
            await receiver.next()
        await put(front, other, FOREIGN)
        await other.next()
        receiver.let_go.clear()
        await completed(front, "shop", "a")
        await receiver.next()
        await completed(front, "shop2", "b")
        await completed(front, "stall", "c", "other")

        assert (await other.next()).json["async-responses"][0]["id"] == "c"
        assert receiver.got.empty()
        # The first is over after its 20 seconds, and the account's other application has its turn.
        front.core.clock.advance(20)
        assert (await receiver.next()).json["async-responses"][0]["id"] == "b"


async def test_a_delivery_that_waits_for_a_place_is_no_failure_of_its_receiver(
    tmp_path: Path, receiver: Receiver, other: Receiver
) -> None:
    async with running_front(tmp_path, limits=Limits(callbacks_at_once=1, callbacks_per_account=1)) as front:
        await put(front, receiver)
        await put(front, other, FOREIGN)
        for one in (receiver, other):
            await one.next()
        receiver.let_go.clear()
        await completed(front, "shop", "a")
        await receiver.next()
        await completed(front, "stall", "b", "other")
        await front.ask("GET", CHANNEL)
        front.core.clock.advance(19)
        await front.ask("GET", CHANNEL)
        receiver.let_go.set()

        assert (await other.next()).json["async-responses"][0]["id"] == "b"
        assert front.core.hub.stats.callbacks_failed == 0
