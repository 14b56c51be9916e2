"""Listeners whose sinks are full: they keep their place, delay nobody, and are closed if they take nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.abc import TaskGroup

from tests.clock import ManualClock
from tests.unit.lanes_rig import (
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


async def test_a_full_sink_is_written_nothing_more_and_costs_no_task(rig: Rig) -> None:
    listener, sink, _ = await rig.listen()
    rig.commit()
    await settled()

    sink.pause()
    rig.commit(count=50)
    await settled()

    assert offsets(sink) == [1]
    assert not listener.caught_up
    assert not listener._reading
    assert len(listener.lane) == 0


async def test_a_sink_that_resumes_gets_what_it_missed_and_rejoins(rig: Rig) -> None:
    listener, sink, _ = await rig.listen()
    rig.commit()
    await settled()
    sink.pause()
    rig.commit(count=500)
    await settled()

    sink.resume()
    await settled()
    rig.commit()
    await settled()

    assert offsets(sink) == list(range(1, 503))
    assert listener.caught_up


async def test_those_that_lag_together_share_the_encoding_of_those_that_do_not(rig: Rig) -> None:
    await rig.listen()
    lagging = [(await rig.listen())[1] for _ in range(10)]
    rig.commit()
    await settled()
    for sink in lagging:
        sink.pause()
    for _ in range(20):
        rig.commit()
        await settled()
    before = rig.view.rendered

    for sink in lagging:
        sink.resume()
    await settled()

    assert rig.view.rendered == before
    assert all(offsets(sink) == list(range(1, 22)) for sink in lagging)


async def test_a_sink_that_fills_within_a_write_keeps_its_place(rig: Rig) -> None:
    listener, sink, _ = await rig.listen()
    sink.after_write = sink.pause

    rig.commit(payload=b"x" * 30_000, count=6)
    await settled()
    first = offsets(sink)
    assert 0 < len(first) < 6

    sink.after_write = None
    sink.resume()
    await settled()

    assert offsets(sink) == [1, 2, 3, 4, 5, 6]
    assert listener.offset == 6


async def test_a_slow_listener_delays_nobody(rig: Rig) -> None:
    _, slow, _ = await rig.listen()
    _, quick, _ = await rig.listen()
    slow.pause()

    rig.commit(count=300)
    await settled()

    assert offsets(quick) == list(range(1, 301))
    assert offsets(slow) == []


async def test_a_listener_that_takes_nothing_for_thirty_seconds_is_closed(rig: Rig, clock: ManualClock) -> None:
    _, sink, _ = await rig.listen()
    sink.unsent = 300_000
    sink.pause()

    clock.advance(29)
    assert sink.closed is None
    clock.advance(2)

    assert sink.closed is not None
    assert sink.closed[0] == 4008
    assert rig.lanes.stats.slow_closed == 1


async def test_a_listener_that_takes_a_little_is_not_closed(rig: Rig, clock: ManualClock) -> None:
    _, sink, _ = await rig.listen()
    sink.unsent = 300_000
    sink.pause()

    for _ in range(5):
        sink.unsent -= 1000
        clock.advance(30)

    assert sink.closed is None
    clock.advance(31)
    assert sink.closed is not None


async def test_a_pause_that_ends_in_time_closes_nobody(rig: Rig, clock: ManualClock) -> None:
    _, sink, _ = await rig.listen()
    sink.unsent = 300_000
    sink.pause()
    clock.advance(20)
    sink.resume()

    clock.advance(100)

    assert sink.closed is None
    assert clock.pending == 0
