"""What breaks in a lane ends its own listeners aloud, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from anyio.abc import TaskGroup

from hub.delivery.listener import Listener
from hub.model.errors import StorageFailed
from tests.clock import ManualClock
from tests.doubles_listening import RecordingSink, completion
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


async def test_a_log_that_cannot_be_read_ends_the_listener_aloud(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.channel()
    rig.commit(count=300)

    async def fail(*args: object) -> None:
        raise StorageFailed("the disk is gone")

    monkeypatch.setattr(rig.log, "read", fail)
    await rig.listen(start=1)
    await settled()

    assert [type(failure) for failure in rig.failures] == [StorageFailed]


async def test_events_that_cannot_be_encoded_end_their_listeners_and_no_others(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.listen()
    other = await rig.channels.open("app/other", "acme")
    sink = RecordingSink()
    Listener(
        rig.channels,
        rig.lanes,
        rig.lanes.lane(other, rig.view),
        sink,
        other.position,
        rig.group.start_soon,
        failed=rig.failures.append,
    ).start()

    rig.log.commit(completion(NAME, "bad", status="no number"), completion("app/other", "good"))
    await settled()

    assert rig.failures == [None]
    assert offsets(sink) == [1]
    assert "cannot be told" in caplog.text


async def test_a_sink_that_breaks_costs_its_own_listener_and_no_other(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    _, broken, _ = await rig.listen()
    _, beside, _ = await rig.listen()
    other = await rig.channels.open("app/other", "acme")
    elsewhere = RecordingSink()
    Listener(
        rig.channels, rig.lanes, rig.lanes.lane(other, rig.view), elsewhere, other.position, rig.group.start_soon,
        failed=rig.failures.append,
    ).start()  # fmt: skip

    def breaks() -> None:
        raise RuntimeError("no such socket")

    broken.after_write = breaks
    rig.log.commit(completion(NAME, "a"), completion("app/other", "a"))
    await settled()
    rig.log.commit(completion(NAME, "b"), completion("app/other", "b"))
    await settled()

    assert (offsets(broken), offsets(beside), offsets(elsewhere)) == ([1], [1, 2], [1, 2])
    assert rig.failures == [None]
    assert "cannot be written to" in caplog.text


async def test_an_event_that_cannot_even_be_weighed_leaves_no_other_lane_waiting(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.listen()
    other = await rig.channels.open("app/other", "acme")
    sink = RecordingSink()
    Listener(
        rig.channels, rig.lanes, rig.lanes.lane(other, rig.view), sink, other.position, rig.group.start_soon,
        failed=rig.failures.append,
    ).start()  # fmt: skip

    for ref in "ab":
        rig.log.commit(completion(NAME, ref, payload=7), completion("app/other", ref))  # type: ignore[arg-type]
        await settled()

    assert rig.failures == [None]
    assert offsets(sink) == [1, 2]
    assert "cannot be told" in caplog.text
