"""A callback of the Connect dialect that fails: repeated in its rhythm, over restarts, for a day."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hub.dialects.pelion.callback_reader import pause_after
from tests.clock import ManualClock
from tests.hub_process import free_port
from tests.trips.front_rig import PATIENCE, Front, running_front
from tests.trips.pelion_callback_rig import (
    CHANNEL,
    DAY,
    completed,
    failed,
    record,
    refs,
    registered,
    taken,
    until,
)
from tests.trips.receiver import Receiver, receiving

pytestmark = pytest.mark.anyio


async def test_what_fails_is_repeated_with_the_same_ids_after_1_2_4_and_up_to_120_seconds(
    front: Front, receiver: Receiver
) -> None:
    await registered(front, receiver, serialization={"type": "v2", "cfg": {"include_uid": True}})
    receiver.status = 503
    await completed(front, "a")
    bodies = [(await receiver.next()).json["async-responses"]]
    await failed(front, 1)

    for times, pause in enumerate([1, 2, 4, 8, 16, 32, 64, 120, 120], 1):
        front.core.clock.advance(pause - 0.01)
        await front.ask("GET", CHANNEL)
        assert receiver.got.empty()
        front.core.clock.advance(0.01)
        bodies.append((await receiver.next()).json["async-responses"])
        await failed(front, times + 1)

    assert all(body == bodies[0] for body in bodies)


async def test_a_success_begins_the_schedule_anew(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.status = 500
    await completed(front, "a")
    for times, pause in enumerate([1, 2], 1):
        await failed(front, times)
        front.core.clock.advance(pause)
    await failed(front, 3)
    receiver.status = 204
    front.core.clock.advance(4)
    await taken(front, 1)
    await until(lambda: record(front).failing is None)

    receiver.status = 500
    await completed(front, "b")
    await failed(front, 1)

    assert record(front).failing.times == 1


async def test_anything_but_200_and_204_is_a_failure(front: Front, receiver: Receiver) -> None:
    await registered(front, receiver)
    receiver.headers = {"Location": f"{receiver.url}/elsewhere"}
    receiver.status = 201
    await completed(front, "a")

    for times, status in enumerate((202, 301, 307, 400, 410, 500), 1):
        await failed(front, times)
        assert receiver.got.qsize() == times
        receiver.status = status
        front.core.clock.advance(pause_after(times).total_seconds())

    await failed(front, 7)
    assert receiver.got.qsize() == 7


async def test_a_receiver_that_says_nothing_for_20_seconds_has_failed_and_the_pause_counts_from_there(
    front: Front, receiver: Receiver
) -> None:
    await registered(front, receiver)
    receiver.let_go.clear()
    await completed(front, "a")
    await receiver.next()
    front.core.clock.advance(20)
    await failed(front, 1)

    assert (record(front).failing.due_at - front.core.clock.now()).total_seconds() == 1


async def test_a_restart_goes_on_with_the_schedule(tmp_path: Path) -> None:
    clock, port = ManualClock(), free_port()
    async with running_front(tmp_path, clock) as front:
        async with receiving(port) as receiver:
            await registered(front, receiver)
        await completed(front, "a")
        for times, pause in enumerate([1, 2, 4, 8, 16, 32], 1):
            await failed(front, times)
            clock.advance(pause)
        await failed(front, 7)
    clock.advance(60)
    async with running_front(tmp_path, clock) as front:
        # The seventh failure is repeated after 64 seconds, of which 60 are over.
        await until(lambda: any(reader._timer for reader, _ in front.pelion.readers._readers.values()))
        clock.advance(3.9)
        assert record(front).failing.times == 7
        clock.advance(0.2)
        await failed(front, 8)
        async with receiving(port) as receiver:
            clock.advance(120)
            assert refs(await receiver.next()) == ["a"]


async def test_what_was_taken_is_not_told_again_after_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    clock = ManualClock()
    async with running_front(tmp_path, clock) as front:
        await registered(front, receiver)
        await completed(front, "a")
        await receiver.next()
        await taken(front, 1)
    async with running_front(tmp_path, clock) as front:
        await completed(front, "b")

        assert refs(await receiver.next()) == ["b"]


async def test_a_receiver_that_was_down_for_nearly_a_day_gets_everything_in_order(tmp_path: Path) -> None:
    clock, port, waited = ManualClock(), free_port(), 0.0
    async with running_front(tmp_path, clock) as front, receiving(port) as receiver:
        await registered(front, receiver)
    sent: list[str] = []
    times = 0
    while waited < DAY - 600:
        # A restart every two hours, in the middle of it all.
        async with running_front(tmp_path, clock) as front:
            sent.append(f"at {waited:.0f}")
            await completed(front, sent[-1])
            if not times:
                times = 1
                await failed(front, 1)
            for _ in range(60):
                pause = pause_after(times).total_seconds()
                waited += pause
                clock.advance(pause)
                times += 1
                await failed(front, times)
                if waited >= DAY - 600:
                    break
    async with receiving(port) as receiver, running_front(tmp_path, clock) as front:
        clock.advance(120)
        got: list[str] = []
        while len(got) < len(sent):
            got += refs(await receiver.next())

    assert got == sent


async def test_after_a_day_without_success_the_callback_is_removed(tmp_path: Path, receiver: Receiver) -> None:
    clock, times = ManualClock(), 1
    async with running_front(tmp_path, clock) as front:
        await registered(front, receiver)
        receiver.status = 500
        await completed(front, "a")
        began = clock.now()
        await failed(front, 1)
    clock.advance(DAY - 300)
    async with running_front(tmp_path, clock) as front:
        while record(front) is not None:
            times += 1
            await asyncio.wait_for(failed_or_removed(front, times), PATIENCE)
            if record(front) is not None:
                clock.advance(pause_after(times).total_seconds())

        lasted = (clock.now() - began).total_seconds()
        assert DAY <= lasted <= DAY + 120
        assert (await front.ask("GET", CHANNEL)).status == 404
        assert receiver.got.qsize() == times


async def failed_or_removed(front: Front, times: int) -> None:
    while (found := record(front)) is not None and (found.failing is None or found.failing.times < times):
        front.record_written.clear()
        await front.record_written.wait()


async def test_a_failed_commit_of_the_schedule_changes_nothing_about_the_rhythm(
    front: Front, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registered(front, receiver)
    receiver.status = 500
    await completed(front, "a")
    await failed(front, 1)
    await receiver.next()
    store = front.core.hub.engine.directory
    monkeypatch.setattr(store, "put", _failing_put)
    front.core.clock.advance(1)
    await receiver.next()
    await front.core.settle()
    monkeypatch.undo()

    front.core.clock.advance(1.9)
    await front.ask("GET", CHANNEL)
    assert receiver.got.empty()
    front.core.clock.advance(0.1)
    await receiver.next()


async def _failing_put(*args: Any) -> Any:
    from hub.model.errors import StorageFailed

    raise StorageFailed("the disk is full")
