"""Named readers: which positions are stored, and when."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from hub.core.channels import Channels
from hub.core.limits import Limits
from hub.delivery.reader import Reader
from hub.model.errors import StorageFailed
from hub.model.event import Position
from tests.clock import ManualClock
from tests.doubles_listening import MemoryLog, RecordingSink

pytestmark = pytest.mark.anyio

NAME = "app/default"

Work = Callable[[], Coroutine[Any, Any, None]]


class CountingLog(MemoryLog):
    """Counts stores; `broken` makes them fail."""

    def __init__(self) -> None:
        super().__init__()
        self.stores = 0
        self.broken = False

    async def store_position(self, channel: str, reader: str, position: Position, *, forward_only: bool = True) -> None:
        self.stores += 1
        if self.broken:
            raise StorageFailed("the disk is gone")
        await super().store_position(channel, reader, position, forward_only=forward_only)


@pytest.fixture
def log() -> CountingLog:
    return CountingLog()


async def reader_of(
    log: CountingLog, clock: ManualClock, sink: RecordingSink, spawn: Callable[[Work], object]
) -> Reader:
    channel = await Channels(log, Limits(), clock).open(NAME, "acme")
    return Reader(log, clock, sink, spawn, channel, "app/till", 0)


async def test_what_was_acknowledged_is_stored_at_the_end_even_if_no_task_could(
    log: CountingLog, clock: ManualClock
) -> None:
    reader = await reader_of(log, clock, RecordingSink(), lambda work: None)
    reader.delivered(5)
    assert reader.ack(4)

    with anyio.CancelScope() as cancelled:
        cancelled.cancel()
        await reader.stop()

    assert log.positions[NAME, "app/till"] == Position("e1", 4)


async def test_a_crowd_of_acknowledgements_is_stored_as_the_newest(log: CountingLog, clock: ManualClock) -> None:
    async with anyio.create_task_group() as group:
        reader = await reader_of(log, clock, RecordingSink(), group.start_soon)
        reader.delivered(1000)
        for offset in range(1, 1001):
            reader.ack(offset)

    assert log.positions[NAME, "app/till"].offset == 1000
    assert log.stores <= 2


async def test_a_position_that_could_not_be_stored_is_tried_again(log: CountingLog, clock: ManualClock) -> None:
    log.broken = True
    async with anyio.create_task_group() as group:
        reader = await reader_of(log, clock, RecordingSink(), group.start_soon)
        reader.delivered(2)
        reader.ack(1)
        await anyio.wait_all_tasks_blocked()
        log.broken = False
        reader.ack(2)

    assert log.positions[NAME, "app/till"].offset == 2


async def test_one_ping_at_a_time_asks_for_all_that_was_delivered(log: CountingLog, clock: ManualClock) -> None:
    sink = RecordingSink()
    async with anyio.create_task_group() as group:
        reader = await reader_of(log, clock, sink, group.start_soon)
        for offset in (1, 2, 3):
            reader.delivered(offset)
        clock.advance(1)
        reader.delivered(4)
        clock.advance(10)
        assert len(sink.pings) == 1

        sink.pings[0]()
        clock.advance(1)

        assert reader.acked == 3
        assert len(sink.pings) == 2
        sink.pings[1]()
        clock.advance(10)
        assert (reader.acked, len(sink.pings), clock.pending) == (4, 2, 0)


async def test_a_reader_that_acknowledges_by_itself_is_not_pinged(log: CountingLog, clock: ManualClock) -> None:
    sink = RecordingSink()
    async with anyio.create_task_group() as group:
        reader = await reader_of(log, clock, sink, group.start_soon)
        reader.delivered(1)
        reader.ack(1)
        clock.advance(10)

    assert sink.pings == []


async def test_nothing_of_a_stopped_reader_waits(log: CountingLog, clock: ManualClock) -> None:
    reader = await reader_of(log, clock, RecordingSink(), lambda work: None)
    reader.delivered(1)
    await reader.stop()
    reader.delivered(2)

    assert clock.pending == 0


async def test_a_displaced_reader_stores_nothing_more(log: CountingLog, clock: ManualClock) -> None:
    waiting: list[Work] = []
    reader = await reader_of(log, clock, sink := RecordingSink(), waiting.append)
    reader.delivered(5)
    clock.advance(1)
    assert reader.ack(3)

    reader.displace()
    sink.pings[0]()
    for work in waiting:
        await work()
    await reader.stop()

    assert log.stores == 0
