"""Lanes and listeners: one encoding for all, nothing lost and nothing twice, whoever comes and whenever."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import anyio
import orjson
import pytest
from anyio.abc import TaskGroup

from hub.delivery.lane import BATCH_BYTES
from hub.delivery.listener import Listener
from tests.clock import ManualClock
from tests.doubles_listening import RecordingSink
from tests.unit.lanes_rig import (
    NAME,
    Rig,
    offsets,
    settled,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def group() -> AsyncIterator[TaskGroup]:
    async with anyio.create_task_group() as group:
        yield group
        group.cancel_scope.cancel()


@pytest.fixture
def rig(clock: ManualClock, group: TaskGroup) -> Rig:
    return Rig(clock, group)


async def test_an_event_is_encoded_once_for_all_listeners(rig: Rig) -> None:
    sinks = [(await rig.listen())[1] for _ in range(20)]

    rig.commit()
    await settled()

    assert rig.view.rendered == 1
    assert all(sink.written == sinks[0].written and len(sink.written) == 1 for sink in sinks)
    assert all(sink.written[0] is sinks[0].written[0] for sink in sinks)


async def test_what_is_committed_in_one_loop_iteration_leaves_in_one_write(rig: Rig) -> None:
    _, sink, _ = await rig.listen()

    for _ in range(10):
        rig.commit()
    await settled()

    assert len(sink.written) == 1
    assert offsets(sink) == list(range(1, 11))


async def test_who_joins_between_a_commit_and_its_flush_is_not_told_it_twice(rig: Rig) -> None:
    _, first, _ = await rig.listen()
    rig.commit()

    _, second, _ = await rig.listen()
    rig.commit()
    await settled()

    assert (offsets(first), offsets(second)) == ([1, 2], [2])


async def test_a_batch_is_bounded(rig: Rig) -> None:
    _, sink, _ = await rig.listen()

    rig.commit(payload=b"x" * 10_000, count=40)
    await settled()

    assert offsets(sink) == list(range(1, 41))
    assert max(map(len, sink.written)) <= BATCH_BYTES


async def test_a_listener_that_starts_in_the_past_is_told_everything_after_it(rig: Rig) -> None:
    await rig.channel()
    rig.commit(count=400)

    listener, sink, _ = await rig.listen(start=100, page=7)
    await settled()

    assert offsets(sink) == list(range(101, 401))
    assert listener.caught_up


async def test_out_of_retention_is_told_by_a_gap_before_what_there_is(rig: Rig) -> None:
    channel = await rig.channel()
    rig.commit(count=300)
    rig.log.forget(NAME, 290)
    assert channel.recent(5, 1) is None

    _, sink, _ = await rig.listen(start=5)
    await settled()

    first = orjson.loads(sink.messages()[0])
    assert {word: first[word] for word in ("type", "from", "to", "next", "reason")} == {
        "type": "gap",
        "from": 6,
        "to": 290,
        "next": 290,
        "reason": "retention",
    }
    assert offsets(sink) == list(range(291, 301))


async def test_a_position_of_another_epoch_is_told_by_a_gap_once(rig: Rig) -> None:
    await rig.channel()
    rig.commit(count=3)

    listener, sink, _ = await rig.listen(start=9, epoch="another")
    await settled()
    rig.commit()
    await settled()

    first, *rest = map(orjson.loads, sink.messages())
    assert (first["type"], first["from"], first["to"], first["reason"]) == ("gap", None, None, "epoch")
    assert [message["offset"] for message in rest] == [1, 2, 3, 4]
    assert listener.caught_up


async def test_a_lane_without_listeners_is_forgotten(rig: Rig) -> None:
    listener, _, outlet = await rig.listen()
    rig.commit()
    await settled()

    outlet.remove(listener)

    assert len(rig.lanes) == 0
    assert rig.lanes.ring_bytes == 0
    assert (await rig.channel()).listeners == 0


async def test_what_comes_after_the_end_is_not_written(rig: Rig) -> None:
    _, sink, outlet = await rig.listen()
    rig.commit()
    outlet.close(1012)
    await settled()

    assert sink.written == []
    assert sink.closed == (1012, "")


async def test_a_lane_whose_only_listener_is_displaced_is_still_shared_by_those_who_come(rig: Rig) -> None:
    channel = await rig.channel()
    _, _, outlet = await rig.listen()
    lane = rig.lanes.lane(channel, rig.view)
    sink = RecordingSink()
    newer = Listener(
        rig.channels, rig.lanes, lane, sink, channel.position, rig.group.start_soon, failed=rig.failures.append
    )
    # The newer one has its lane already when it sends the older one away.
    outlet.close(4501)
    newer.start()
    _, third, _ = await rig.listen()
    rig.commit()
    await settled()

    assert rig.view.rendered == 1
    assert sink.written[0] is third.written[0]
    newer.stop()
    assert len(rig.lanes) == 1, "the third listener's lane must stay known"


async def test_what_is_delivered_and_who_lags_is_counted(rig: Rig) -> None:
    stats = rig.lanes.stats
    _, sink, _ = await rig.listen()
    _, _, leaving = await rig.listen()
    rig.commit(count=3)
    await settled()
    assert (stats.deliveries, stats.lagging, stats.gaps) == (6, 0, 0)

    sink.pause()
    assert stats.lagging == 1
    rig.commit()
    leaving.close(1000)
    await settled()
    assert (stats.deliveries, stats.lagging) == (6, 1)

    sink.resume()
    await settled()
    assert (stats.deliveries, stats.lagging) == (7, 0)

    rig.log.forget(NAME, 4)
    (await rig.channel()).drop_ring()
    await rig.listen(start=0)
    await settled()
    assert (stats.gaps, stats.lagging) == (1, 0)


@pytest.mark.parametrize("seed", range(30))
async def test_live_and_replay_lose_and_repeat_nothing_whatever_happens_when(rig: Rig, seed: int) -> None:
    dice = random.Random(seed)
    channel = await rig.channel()
    heard: list[tuple[Listener, RecordingSink, int]] = []

    def maybe_full(sink: RecordingSink) -> None:
        if not sink.paused and dice.random() < 0.15:
            sink.pause()

    def maybe_commit() -> None:
        if dice.random() < 0.3:
            rig.commit(count=dice.randint(1, 5))

    # Commits that arrive while a lagging listener waits for the log are the race to be shown.
    rig.log.before_read = maybe_commit
    for _ in range(80):
        match dice.randint(0, 5):
            case 0 | 1:
                rig.commit(payload=b"x" * dice.choice([1, 1, 1, 10_000]), count=dice.choice([1, 1, 2, 3, 7, 7, 20, 90]))
            case 2:
                if len(heard) < 5:
                    start = dice.choice([None, 0, dice.randint(0, channel.head)])
                    begun = channel.head if start is None else start
                    listener, sink, _ = await rig.listen(start=start, page=dice.choice([5, 40, 256]))
                    sink.after_write = lambda sink=sink: maybe_full(sink)
                    heard.append((listener, sink, begun))
            case 3:
                for _, sink, _ in heard:
                    if sink.paused and dice.random() < 0.5:
                        sink.resume()
            case 4:
                for _, sink, _ in heard:
                    maybe_full(sink)
            case 5:
                for _ in range(dice.randint(0, 6)):
                    await anyio.lowlevel.checkpoint()
    rig.log.before_read = None
    for _, sink, _ in heard:
        sink.after_write = None
        if sink.paused:
            sink.resume()
    await settled()

    assert heard
    for listener, sink, begun in heard:
        assert offsets(sink) == list(range(begun + 1, channel.head + 1))
        assert listener.caught_up
