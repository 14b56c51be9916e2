"""An answer that meets a cancel which is still being written: the device is told that it is held once something is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.model.call import Call, CallState
from hub.model.errors import StorageFailed
from hub.ports.adapter import Delivery, DeviceEvent, DeviceResponse, NotConnected
from hub.ports.adapter import EventKind as Heard
from hub.ports.engine import End, Journal
from tests.core_rig import PRINCIPAL, Core, running_core

pytestmark = pytest.mark.anyio


class SlowEnds:
    """A journal whose ends are written when `written` is set, and that otherwise is the one behind it."""

    def __init__(self, behind: Journal) -> None:
        self._behind = behind
        self.begun = asyncio.Event()
        self.written = asyncio.Event()

    async def finish(self, end: End) -> int | None:
        self.begun.set()
        await self.written.wait()
        return await self._behind.finish(end)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


class Acknowledged:
    """What an adapter does once the hub holds an answer, and whether anything was on disk then."""

    def __init__(self, journal: SlowEnds) -> None:
        self._journal = journal
        self.times = 0
        self.too_early = False

    def __call__(self) -> None:
        self.times += 1
        self.too_early |= not self._journal.written.is_set()


@asynccontextmanager
async def calling_off(core: Core, call: Call) -> AsyncIterator[tuple[SlowEnds, asyncio.Task[CallState]]]:
    """The call is being called off, and that waits for the disk; at the end of the block it is over."""
    journal = SlowEnds(core.hub.engine.journal)
    core.hub.dispatch.journal = journal  # type: ignore[assignment]
    cancelling = asyncio.create_task(core.hub.calls.cancel(PRINCIPAL, call.id))
    await journal.begun.wait()
    try:
        yield journal, cancelling
        await core.settle()
    finally:
        journal.written.set()
    state = await cancelling
    assert state.outcome is not None and state.outcome.error in ("CANCELLED", "OUTCOME_UNKNOWN")
    await core.settle()


@pytest.mark.parametrize("status", [200, 503])
async def test_an_answer_is_acknowledged_once_the_end_that_it_met_is_on_disk(tmp_path: Path, status: int) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method="GET", expiry=timedelta(hours=1))
        attempt = await core.adapter.next()
        async with calling_off(core, call) as (journal, _):
            acknowledged = Acknowledged(journal)
            attempt.answer.set_result(DeviceResponse(status, native={"retry_after": 1}, held=acknowledged))

        assert (acknowledged.times, acknowledged.too_early) == (1, False)


async def test_a_device_that_asks_for_patience_is_acknowledged_once_a_cancel_meanwhile_is_on_disk(
    tmp_path: Path,
) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method="GET", expiry=timedelta(hours=1))
        attempt = await core.adapter.next()
        releasing, go_on = asyncio.Event(), asyncio.Event()
        release = core.hub.engine.journal.release

        async def slow(*args: Any, **more: Any) -> Any:
            releasing.set()
            await go_on.wait()
            return await release(*args, **more)

        core.hub.dispatch.journal.release = slow  # type: ignore[method-assign]
        acknowledged: list[bool] = []
        journal = SlowEnds(core.hub.engine.journal)
        attempt.answer.set_result(
            DeviceResponse(503, native={"retry_after": 1}, held=lambda: acknowledged.append(journal.written.is_set()))
        )
        await releasing.wait()
        core.hub.dispatch.journal = journal  # type: ignore[assignment]
        cancelling = asyncio.create_task(core.hub.calls.cancel(PRINCIPAL, call.id))
        await journal.begun.wait()
        go_on.set()
        await core.settle()
        journal.written.set()
        await cancelling
        await core.settle()

    assert acknowledged == [True]


async def test_a_late_answer_is_taken_once_the_end_that_it_met_is_on_disk(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit()
        (await core.adapter.next()).fail(NotConnected(delivery=Delivery.MAYBE))
        await core.settle()
        assert core.adapter.ctx is not None
        late = DeviceEvent(
            Heard.LATE_RESPONSE, "lamp", 0.0, attrs={"call_id": call.id, "response": DeviceResponse(200)}
        )
        async with calling_off(core, call):
            taken = asyncio.create_task(core.adapter.ctx.accept(late))
            await core.settle()
            assert not taken.done()
        await asyncio.wait_for(taken, 5)
        assert core.hub.stats.late_responses == 1


async def test_an_end_is_written_though_the_one_who_began_it_left(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit()
        (await core.adapter.next()).fail(NotConnected(delivery=Delivery.MAYBE))
        await core.settle()
        ctx, journal = core.adapter.ctx, SlowEnds(core.hub.engine.journal)
        assert ctx is not None
        core.hub.dispatch.journal = journal  # type: ignore[assignment]
        late = DeviceEvent(
            Heard.LATE_RESPONSE, "lamp", 0.0, attrs={"call_id": call.id, "response": DeviceResponse(200, b"late")}
        )
        first = asyncio.create_task(ctx.accept(late))
        await journal.begun.wait()
        second = asyncio.create_task(ctx.accept(late))
        await core.settle()
        first.cancel()
        journal.written.set()

        await asyncio.wait_for(second, 5)
        outcome = (await core.ended(call)).outcome
        assert outcome is not None and outcome.payload == b"late"
        assert core.hub.dispatch.tickets == {}


async def test_an_end_that_a_hub_going_down_leaves_unwritten_is_not_taken_for_written(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method="GET")
        await core.adapter.next()
        journal = SlowEnds(core.hub.engine.journal)
        core.hub.dispatch.journal = journal  # type: ignore[assignment]
        cancelling = asyncio.create_task(core.hub.calls.cancel(PRINCIPAL, call.id))
        await journal.begun.wait()
        assert core.adapter.ctx is not None
        late = DeviceEvent(
            Heard.LATE_RESPONSE, "lamp", 0.0, attrs={"call_id": call.id, "response": DeviceResponse(200)}
        )
        taken = asyncio.create_task(core.adapter.ctx.accept(late))
        await core.settle()

    with pytest.raises(StorageFailed):
        await asyncio.wait_for(taken, 5)
    cancelling.cancel()
    await asyncio.wait([cancelling])


async def test_a_caller_who_leaves_while_his_cancel_is_written_has_called_it_off(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        call = await core.submit(method="GET")
        await core.adapter.next()
        journal = SlowEnds(core.hub.engine.journal)
        core.hub.dispatch.journal = journal  # type: ignore[assignment]
        cancelling = asyncio.create_task(core.hub.calls.cancel(PRINCIPAL, call.id))
        await journal.begun.wait()
        cancelling.cancel()
        await asyncio.wait([cancelling])
        journal.written.set()
        outcome = (await core.ended(call)).outcome
        assert outcome is not None and outcome.error == "CANCELLED"
        assert core.hub.dispatch.tickets == {}
