"""MQTT answers that are told again until they are acknowledged: nothing is acknowledged that the hub does not hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.mqtt.listener.double import Asked, DeviceDouble
from hub.model.call import Call
from hub.model.device import Presence
from hub.model.errors import StorageFailed
from hub.model.outcome import Ending
from hub.ports.adapter import EventKind
from tests.trips.mqtt_rig import PATIENCE, Plant, running

pytestmark = pytest.mark.anyio


class Fails:
    """The first call of something fails, once it is told to go on."""

    def __init__(self, inner: Any, failure: Exception) -> None:
        self.there = asyncio.Event()
        self.open = asyncio.Event()
        self._inner = inner
        self._failure = failure

    async def __call__(self, adapter: str, event: Any, *more: Any) -> Any:
        if self.there.is_set() or event.kind not in (EventKind.LATE_RESPONSE, EventKind.NOTIFICATION):
            return await self._inner(adapter, event, *more)
        self.there.set()
        await self.open.wait()
        raise self._failure


class Slow:
    """A disk that does not write before it is told to."""

    def __init__(self, inner: Any) -> None:
        self.there = asyncio.Event()
        self.open = asyncio.Event()
        self._inner = inner

    async def __call__(self, end: Any) -> Any:
        self.there.set()
        await self.open.wait()
        return await self._inner(end)


@asynccontextmanager
async def asked_by(plant: Plant) -> AsyncIterator[tuple[DeviceDouble, Call, Asked]]:
    """A device with a command that it has not answered yet."""
    double = await plant.device("pump")
    double.qos = 1
    double.hold()
    call = await plant.submit("pump", args={"a": 1})
    yield double, call, await double.asked()


def body_of(asked: Asked) -> bytes:
    return orjson.dumps({"id": asked.body["id"], "code": 200, "data": {"ok": 1}, "message": ""})


async def answer(double: DeviceDouble, asked: Asked) -> int:
    return await double.publish(asked.topic + "_reply", body_of(asked))


async def away(plant: Plant, double: DeviceDouble) -> None:
    """The connection breaks and comes again: its answer is a late one."""
    await double.drop()
    await plant.until(Presence.OFFLINE, "pump")
    await double.reconnect()


async def answered(plant: Plant, call: Call) -> None:
    plant.clock.advance(100_000)  # what did not come has not come by then
    state = await plant.ended(call)
    assert state.outcome is not None and state.outcome.ending is Ending.ANSWERED


async def closed(double: DeviceDouble) -> None:
    async with asyncio.timeout(PATIENCE):
        await double.closed.wait()


@pytest.mark.parametrize("failure", [StorageFailed("the disk is full"), RuntimeError("a fault of the hub")])
async def test_a_late_answer_that_was_not_taken_is_taken_when_it_is_told_again(
    tmp_path: Path, failure: Exception
) -> None:
    async with running(tmp_path) as plant, asked_by(plant) as (double, call, asked):
        await away(plant, double)
        plant.hub.dispatch.late = fails = Fails(plant.hub.dispatch.late, failure)  # type: ignore[method-assign]
        fails.open.set()
        await answer(double, asked)
        await closed(double)
        assert double.acked == []

        await double.reconnect()
        again = await answer(double, asked)
        await double.until(lambda: double.acked == [again])
        await answered(plant, call)


async def test_so_is_one_that_stood_behind_another_message_that_was_not_taken(tmp_path: Path) -> None:
    async with running(tmp_path) as plant, asked_by(plant) as (double, call, asked):
        await away(plant, double)
        fails = Fails(plant.hub.presence.hear, StorageFailed("the disk is full"))
        plant.hub.presence.hear = fails  # type: ignore[method-assign]
        await double.event()
        await asyncio.wait_for(fails.there.wait(), PATIENCE)
        await answer(double, asked)
        await double.settle()
        fails.open.set()
        await closed(double)
        assert double.acked == []

        await double.reconnect()
        again = await answer(double, asked)
        await double.until(lambda: double.acked == [again])
        await answered(plant, call)


@pytest.mark.parametrize("back", [False, True])
async def test_no_copy_of_an_answer_is_acknowledged_before_the_end_of_its_call_is_on_disk(
    tmp_path: Path, back: bool
) -> None:
    async with running(tmp_path) as plant, asked_by(plant) as (double, call, asked):
        journal: Any = plant.hub.engine.journal
        journal.finish = slow = Slow(journal.finish)
        first = await answer(double, asked)
        await asyncio.wait_for(slow.there.wait(), PATIENCE)
        if back:
            await away(plant, double)
        second = await answer(double, asked)
        await double.settle()
        assert double.acked == []

        slow.open.set()
        expected = [second] if back else [first, second]
        await double.until(lambda: double.acked == expected)
        await answered(plant, call)


async def test_a_copy_takes_the_place_of_a_late_answer_that_is_not_taken(tmp_path: Path) -> None:
    async with running(tmp_path) as plant, asked_by(plant) as (double, call, asked):
        await away(plant, double)
        late = Fails(plant.hub.dispatch.late, StorageFailed("the disk is full"))
        plant.hub.dispatch.late = late  # type: ignore[method-assign]
        await answer(double, asked)
        await asyncio.wait_for(late.there.wait(), PATIENCE)
        await away(plant, double)
        second = await answer(double, asked)
        await double.settle()
        assert double.acked == []

        late.open.set()
        await double.until(lambda: double.acked == [second])
        await answered(plant, call)
