"""The channel of long polls: made by a poll, gone with a DELETE or for want of polls, one kind at a time."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path

import pytest

from tests.trips.front_rig import Answer, Front, running_front
from tests.trips.pelion_pull_rig import (
    CALLBACK,
    CHANNEL,
    PULL,
    WEBSOCKET,
    completed,
    departed,
    mechanism,
    open_poll,
    over,
    refs,
    until,
)
from tests.trips.receiver import receiving

pytestmark = pytest.mark.anyio


# Deleting, and the second after it.


async def test_deleting_ends_the_open_poll_with_410_and_is_always_a_success(front: Front) -> None:
    nothing = await front.ask("DELETE", PULL)
    front.core.clock.advance(1)
    poll = await open_poll(front)
    removed, again = await front.ask("DELETE", PULL), await front.ask("DELETE", PULL)

    ended = await poll
    assert (ended.status, ended.text) == (410, "CHANNEL_DELETED")
    assert [(answer.status, answer.text) for answer in (nothing, removed, again)] == [
        (200, "ALREADY_DELETED"),
        (200, "REMOVED"),
        (200, "ALREADY_DELETED"),
    ]
    assert await mechanism(front) is None


async def test_deleting_loses_what_waits(front: Front) -> None:
    await (await polled(front, "a"))
    await completed(front, "b")
    await front.ask("DELETE", PULL)
    await completed(front, "c")
    front.core.clock.advance(1)

    assert refs(await front.ask("GET", PULL)) == ["c"]


async def polled(front: Front, ref: str) -> Awaitable[Answer]:
    """A poll that made the channel and is answered."""
    poll = await open_poll(front)
    await completed(front, ref)
    return poll


async def test_a_poll_in_the_second_after_a_delete_ends_with_it_and_makes_no_channel(front: Front) -> None:
    await front.ask("DELETE", PULL)
    front.core.clock.advance(0.4)
    poll = await open_poll(front)
    before = await mechanism(front)
    front.core.clock.advance(0.59)
    await front.ask("GET", CHANNEL)
    assert not poll.done()

    front.core.clock.advance(0.01)

    assert (await poll).status == 204
    assert (before, await mechanism(front)) == (None, None)


async def test_a_poll_in_the_second_after_a_delete_is_told_what_comes(front: Front) -> None:
    await front.ask("DELETE", PULL)
    poll = await open_poll(front)

    await departed(front, "d1")

    assert (await poll).json["de-registrations"] == ["d1"]
    again = await open_poll(front)
    await completed(front, "a")
    assert refs(await again) == ["a"]


async def test_after_that_second_a_poll_makes_the_channel(front: Front) -> None:
    await front.ask("DELETE", PULL)
    front.core.clock.advance(1)

    poll = await open_poll(front)

    assert await mechanism(front) == "LONG_POLLING"
    poll.cancel()


async def test_a_poll_in_that_second_leaves_the_place_to_a_callback_and_takes_nothing_from_it(front: Front) -> None:
    async with receiving() as receiver:
        await (await polled(front, "a"))
        await front.ask("DELETE", PULL)
        poll = await open_poll(front)

        made = await front.ask("PUT", CALLBACK, {"url": receiver.url, "headers": {}})
        await completed(front, "b")
        trial, told = await receiver.next(), await receiver.next()

        assert made.status == 204
        assert (await poll).status == 204
        assert (trial.body, told.json["async-responses"][0]["id"]) == (b"{}", "b")
        later = await front.ask("GET", PULL)
        assert (later.status, later.text) == (400, "CHANNEL_OF_ANOTHER_KIND")


async def test_a_second_delete_ends_the_poll_of_that_second(front: Front) -> None:
    await front.ask("DELETE", PULL)
    poll = await open_poll(front)

    await front.ask("DELETE", PULL)

    assert (await poll).status == 410


# Other kinds, other ends.


async def test_a_poll_beside_another_kind_is_told_400_and_displaces_nothing(front: Front) -> None:
    await front.ask("PUT", WEBSOCKET)

    answers = [await front.ask("GET", PULL), await front.ask("DELETE", PULL), await front.ask("GET", PULL)]

    assert [(answer.status, answer.text) for answer in answers] == [
        (400, "CHANNEL_OF_ANOTHER_KIND"),
        (200, "ALREADY_DELETED"),
        (400, "CHANNEL_OF_ANOTHER_KIND"),
    ]
    assert await mechanism(front) == "WEB_SOCKET"


async def test_another_kind_beside_a_poll_is_told_400(front: Front) -> None:
    poll = await open_poll(front)
    async with receiving() as receiver:
        callback = await front.ask("PUT", CALLBACK, {"url": receiver.url})
        assert receiver.got.empty()
    made = await front.ask("PUT", WEBSOCKET)

    assert [(answer.status, answer.text) for answer in (callback, made)] == [(400, "CHANNEL_OF_ANOTHER_KIND")] * 2
    assert not poll.done()
    poll.cancel()


async def test_the_channel_goes_after_ten_minutes_without_a_poll(front: Front) -> None:
    await (await polled(front, "a"))
    await over(front)
    front.core.clock.advance(599)
    before = await mechanism(front)
    await completed(front, "b")
    front.core.clock.advance(1)

    assert (before, await mechanism(front)) == ("LONG_POLLING", None)
    assert (await front.ask("PUT", WEBSOCKET)).status == 201


async def test_each_poll_keeps_the_channel_and_its_queue(front: Front) -> None:
    for ref in "abc":
        await completed(front, ref)
        assert refs(await front.ask("GET", PULL)) == [ref]
        await over(front)
        front.core.clock.advance(599)

    assert await mechanism(front) == "LONG_POLLING"


async def test_a_channel_that_ran_out_has_lost_its_queue_for_the_next_one(front: Front) -> None:
    await (await polled(front, "a"))
    await over(front)
    front.core.clock.advance(300)
    await departed(front, "d1")
    front.core.clock.advance(300.1)
    await until(lambda: not front.pelion.channels.all())
    poll = await open_poll(front)

    await departed(front, "d2")

    assert (await poll).json["de-registrations"] == ["d2"]


async def test_a_restart_leaves_ten_minutes_to_come_back(tmp_path: Path) -> None:
    clock = None
    async with running_front(tmp_path) as front:
        clock = front.core.clock
        await (await polled(front, "a"))
        await over(front)
    clock.advance(3600)
    async with running_front(tmp_path, clock) as front:
        clock.advance(599)
        before = await mechanism(front)
        clock.advance(1)
        after = await mechanism(front)

    assert (before, after) == ("LONG_POLLING", None)
