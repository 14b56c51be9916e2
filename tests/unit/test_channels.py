"""Channels in memory: heads, rings, waiting, opening and deleting."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from hub.core.channel import RING_EVENTS
from hub.core.channels import Channels, full_name
from hub.core.limits import Limits
from hub.model.errors import BadRequest, NotFound, TooMany
from hub.model.event import Event, Position
from tests.clock import ManualClock
from tests.doubles_listening import MemoryLog, completion

pytestmark = pytest.mark.anyio

NAME = "app/default"


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def channels(log: MemoryLog, clock: ManualClock) -> Channels:
    channels = Channels(log, Limits(), clock)
    log.on_commit = channels.on_commit
    return channels


async def test_a_commit_moves_the_head_before_followers_are_told(log: MemoryLog, channels: Channels) -> None:
    channel = await channels.open(NAME, "acme")
    seen: list[tuple[int, list[int]]] = []
    channel.follow(lambda events: seen.append((channel.head, [event.offset for event in events])))

    log.commit(completion(NAME, "a"), completion(NAME, "b"))

    assert seen == [(2, [1, 2])]


async def test_followers_are_told_before_waiters_resume(log: MemoryLog, channels: Channels) -> None:
    channel = await channels.open(NAME, "acme")
    order: list[str] = []
    channel.follow(lambda events: order.append("follower"))

    async def waiter() -> None:
        await channels.wait(channel, 0, 2000.0)
        order.append("waiter")

    async with anyio.create_task_group() as group:
        group.start_soon(waiter)
        await anyio.wait_all_tasks_blocked()
        log.commit(completion(NAME, "a"))

    assert order == ["follower", "waiter"]


async def test_who_no_longer_follows_is_told_nothing(log: MemoryLog, channels: Channels) -> None:
    channel = await channels.open(NAME, "acme")
    seen: list[Event] = []
    unfollow = channel.follow(seen.extend)
    unfollow()

    log.commit(completion(NAME, "a"))

    assert seen == []


async def test_an_event_committed_while_the_channel_is_being_opened_is_not_missed(
    log: MemoryLog, channels: Channels
) -> None:
    log.commit(completion(NAME, "a"))

    opened = asyncio.ensure_future(channels.open(NAME, "acme"))
    channel = None
    committed = 1
    while not opened.done():
        log.commit(completion(NAME, f"b{committed}"))
        committed += 1
        await asyncio.sleep(0)
    channel = opened.result()

    assert channel.head == committed
    page = await channels.read(channel, Position(channel.epoch, 0), 100)
    assert [event.offset for event in page.events] == list(range(1, committed + 1))


async def test_recent_events_are_read_without_the_log(log: MemoryLog, channels: Channels) -> None:
    channel = await channels.open(NAME, "acme")
    for number in range(10):
        log.commit(completion(NAME, str(number)))

    page = await channels.read(channel, Position(channel.epoch, 4), 3)

    assert [event.offset for event in page.events] == [5, 6, 7]
    assert log.reads == 0


async def test_what_memory_has_let_go_is_read_from_the_log(log: MemoryLog, channels: Channels) -> None:
    channel = await channels.open(NAME, "acme")
    for number in range(RING_EVENTS + 50):
        log.commit(completion(NAME, str(number)))

    page = await channels.read(channel, Position(channel.epoch, 20), 5)

    assert [event.offset for event in page.events] == [21, 22, 23, 24, 25]
    assert log.reads == 1


async def test_a_ring_is_bounded_in_bytes(log: MemoryLog, channels: Channels) -> None:
    channel = await channels.open(NAME, "acme")
    for number in range(100):
        log.commit(completion(NAME, str(number), b"x" * 60_000))

    assert channel.ring_bytes <= 1 << 20
    assert channel.recent(98, 10) is not None


async def test_all_rings_together_are_bounded(
    log: MemoryLog, channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.core.channels.ALL_RINGS_BYTES", 200_000)
    names = [f"app/c{number}" for number in range(10)]
    opened = [await channels.open(name, "acme") for name in names]
    for name in names:
        log.commit(completion(name, "a", b"x" * 50_000))

    assert sum(channel.ring_bytes for channel in opened) <= 200_000
    assert opened[-1].ring_bytes > 0


async def test_a_page_never_runs_ahead_of_the_head(log: MemoryLog, channels: Channels) -> None:
    log.commit(completion(NAME, "a"))
    channel = await channels.open(NAME, "acme")
    untold = log.commit(completion(NAME, "b"), tell=False)

    page = await channels.read(channel, Position(channel.epoch, 0), 10)
    assert [event.offset for event in page.events] == [1]

    channels.on_commit(untold)
    page = await channels.read(channel, Position(channel.epoch, 1), 10)
    assert [event.offset for event in page.events] == [2]


async def test_a_position_of_another_epoch_is_told_as_a_gap(log: MemoryLog, channels: Channels) -> None:
    log.commit(completion(NAME, "a"))
    channel = await channels.open(NAME, "acme")

    page = await channels.read(channel, Position("another", 7), 10)

    assert page.gap is not None
    assert (page.gap.reason, page.gap.start, [event.offset for event in page.events]) == ("epoch", None, [1])


async def test_a_position_beyond_the_head_is_refused_because_waiting_there_would_hide_events(
    channels: Channels,
) -> None:
    channel = await channels.open(NAME, "acme")

    with pytest.raises(BadRequest):
        await channels.read(channel, Position(channel.epoch, 5), 10)


async def test_a_wait_ends_at_its_time(channels: Channels, clock: ManualClock) -> None:
    channel = await channels.open(NAME, "acme")
    waiting = asyncio.ensure_future(channels.wait(channel, 0, clock.monotonic() + 30))
    await anyio.wait_all_tasks_blocked()

    clock.advance(29.9)
    await anyio.wait_all_tasks_blocked()
    assert not waiting.done()
    clock.advance(0.2)

    assert await waiting is False
    assert clock.pending == 0


async def test_a_wait_for_what_is_there_does_not_wait(log: MemoryLog, channels: Channels, clock: ManualClock) -> None:
    channel = await channels.open(NAME, "acme")
    log.commit(completion(NAME, "a"))

    assert await channels.wait(channel, 0, clock.monotonic())


async def test_a_deleted_channel_tells_its_listeners_and_ends_waits(channels: Channels, clock: ManualClock) -> None:
    channel = await channels.open(NAME, "acme")
    told: list[str] = []
    channel.when_deleted(lambda: told.append("deleted"))
    waiting = asyncio.ensure_future(channels.wait(channel, 0, clock.monotonic() + 30))
    await anyio.wait_all_tasks_blocked()

    assert await channels.delete(NAME)

    assert told == ["deleted"]
    assert await waiting is False
    assert channels.known(NAME) is None


async def test_a_channel_made_again_has_another_epoch(channels: Channels) -> None:
    before = await channels.open(NAME, "acme")
    await channels.delete(NAME)

    again = await channels.open(NAME, "acme")

    assert before.deleted
    assert again.epoch != before.epoch


async def test_a_commit_that_makes_a_deleted_channel_again_ends_the_old_one(
    log: MemoryLog, channels: Channels
) -> None:
    before = await channels.open(NAME, "acme")
    await log.delete(NAME)

    log.commit(completion(NAME, "a"))

    assert before.deleted
    again = await channels.find(NAME)
    assert again is not None
    assert (again.head, again.epoch != before.epoch) == (1, True)


async def test_finding_makes_nothing(log: MemoryLog, channels: Channels) -> None:
    assert await channels.find("app/missing") is None
    assert log.infos == {}


async def test_what_the_log_holds_is_found_after_a_restart(log: MemoryLog) -> None:
    log.commit(completion(NAME, "a"))

    found = await Channels(log, Limits()).find(NAME)

    assert found is not None
    assert (found.head, found.account) == (1, "acme")


async def test_a_channel_that_only_a_commit_has_named_is_found(log: MemoryLog, channels: Channels) -> None:
    assert await channels.find(NAME) is None
    log.commit(completion(NAME, "a"))

    found = await channels.find(NAME)

    assert found is not None
    assert found.head == 1


async def test_an_application_has_a_bounded_number_of_channels_even_if_asked_for_at_once(log: MemoryLog) -> None:
    channels = Channels(log, Limits(channels_per_application=5))
    results: list[str] = []

    async def opened(number: int) -> None:
        try:
            await channels.open(f"app/c{number}", "acme")
        except TooMany:
            results.append("refused")
        else:
            results.append("opened")

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(opened, number)

    assert (results.count("opened"), results.count("refused")) == (5, 15)


async def test_a_full_application_still_has_its_default_channel_and_those_that_exist(log: MemoryLog) -> None:
    channels = Channels(log, Limits(channels_per_application=1))
    await channels.open("app/one", "acme")

    assert (await channels.open("app/default", "acme")).name == "app/default"
    assert (await channels.open("app/one", "acme")).name == "app/one"
    assert (await channels.open("other/two", "acme")).name == "other/two"


async def test_a_failed_opening_leaves_no_trace(
    log: MemoryLog, channels: Channels, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(channel: str, account: str) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="disk"):
        broken.setattr(log, "open", fail)
        await channels.open(NAME, "acme")

    assert await channels.find(NAME) is None
    assert (await channels.open(NAME, "acme")).head == 0


async def test_a_listing_holds_the_default_channel_and_counts_listeners(channels: Channels) -> None:
    (await channels.open("app/b", "acme")).listeners += 2
    await channels.open("other/c", "acme")

    listed = await channels.list("acme", "app")

    assert [(found.info.name, found.listeners) for found in listed] == [("app/b", 2), ("app/default", 0)]


@pytest.mark.parametrize("name", ["orders", "app/orders", "a.b:c_d-E9", "x" * 128])
def test_a_bare_name_means_ones_own_application(name: str) -> None:
    assert full_name("app", name) == "app/" + name.removeprefix("app/")


@pytest.mark.parametrize("name", ["", "x" * 129, "a b", "ä", "app/", "a\n", "a%2Fb", "*"])
def test_a_name_outside_the_rules_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        full_name("app", name)


@pytest.mark.parametrize("name", ["other/orders", "/orders", "app/x/orders"])
def test_a_foreign_name_looks_like_a_missing_one(name: str) -> None:
    with pytest.raises(NotFound):
        full_name("app", name)
