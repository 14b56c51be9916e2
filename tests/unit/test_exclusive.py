"""Calls whose turn at their device lasts until they have ended, whatever becomes of their attempt."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hub.model.call import Order
from hub.model.outcome import Ending
from hub.ports.adapter import Delivery, NotConnected
from tests.clock import ManualClock
from tests.core_rig import Core, running_core

pytestmark = pytest.mark.anyio

TIMEOUT = timedelta(seconds=20)
WAIT = timedelta(minutes=10)


async def two(core: Core) -> tuple[str, str]:
    """Two calls of which the second waits for the end of the first."""
    asked = {"order": Order.EXCLUSIVE, "method": "INVOKE", "timeout": TIMEOUT, "expiry": WAIT}
    return (await core.submit(**asked)).id, (await core.submit(**asked)).id


async def test_only_one_is_under_way_however_many_the_device_takes(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_device_inflight=16) as core:
        first, second = await two(core)
        attempt = await core.adapter.next()
        await core.settle()
        assert attempt.request.call_id == first and core.adapter.attempts.empty()
        attempt.reply()
        assert (await core.adapter.next()).request.call_id == second


async def test_a_lost_connection_does_not_end_the_turn_but_the_timeout_does(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_device_inflight=16) as core:
        first, second = await two(core)
        attempt = await core.adapter.next()
        attempt.fail(NotConnected("gone", delivery=Delivery.MAYBE))
        await core.settle()
        core.clock.advance(TIMEOUT.total_seconds() - 1)
        await core.settle()
        assert core.adapter.attempts.empty()
        core.clock.advance(1)
        assert (await core.adapter.next()).request.call_id == second
        state = await core.hub.engine.journal.get(attempt.request.call_id)  # type: ignore[arg-type]
    assert state is not None and state.outcome is not None and state.outcome.ending is Ending.UNKNOWN
    assert state.call.id == first


async def test_one_that_the_far_side_holds_keeps_its_turn(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_device_inflight=16) as core:
        first, second = await two(core)
        attempt = await core.adapter.next()
        assert core.adapter.ctx is not None
        await core.adapter.ctx.checkpoint(first, b"note")
        await core.settle()
        assert core.adapter.attempts.empty()
        attempt.reply()
        assert (await core.adapter.next()).request.call_id == second


async def test_one_that_the_far_side_holds_for_ever_has_its_turn_no_longer_than_its_timeout(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running_core(tmp_path, clock, per_device_inflight=16) as core:
        first, second = await two(core)
        await core.adapter.next()
        assert core.adapter.ctx is not None
        until = await core.adapter.ctx.checkpoint(first, b"note")
        assert until == clock.monotonic() + TIMEOUT.total_seconds()
        clock.advance(TIMEOUT.total_seconds() + 1)
        assert (await core.adapter.next()).request.call_id == second
        await core.adapter.ctx.checkpoint(second, b"note")
        third = (await core.submit(order=Order.EXCLUSIVE, method="INVOKE", timeout=TIMEOUT, expiry=WAIT)).id
        clock.advance(TIMEOUT.total_seconds() - 1)
    async with running_core(tmp_path, clock, per_device_inflight=16) as core:
        await core.adapter.resumed.get()
        await core.settle()
        assert core.adapter.attempts.empty()
        clock.advance(2)
        assert (await core.adapter.next()).request.call_id == third


async def test_one_that_was_not_sent_is_still_the_first(tmp_path: Path) -> None:
    async with running_core(tmp_path, per_device_inflight=16) as core:
        first, second = await two(core)
        (await core.adapter.next()).fail(NotConnected("away", delivery=Delivery.NOT_SENT))
        await core.settle()
        core.clock.advance(60)
        again = await core.adapter.next()
        assert (again.request.call_id, again.request.attempt) == (first, 2)
        again.reply()
        assert (await core.adapter.next()).request.call_id == second


async def test_the_turn_outlasts_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running_core(tmp_path, clock, per_device_inflight=16) as core:
        _, second = await two(core)
        await core.adapter.next()
    async with running_core(tmp_path, clock, per_device_inflight=16) as core:
        await core.settle()
        assert core.adapter.attempts.empty()
        clock.advance(TIMEOUT.total_seconds())
        assert (await core.adapter.next()).request.call_id == second


async def test_a_held_one_keeps_its_turn_over_a_restart(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running_core(tmp_path, clock, per_device_inflight=16) as core:
        first, second = await two(core)
        await core.adapter.next()
        assert core.adapter.ctx is not None
        await core.adapter.ctx.checkpoint(first, b"note")
    async with running_core(tmp_path, clock, per_device_inflight=16) as core:
        attempt, _ = await core.adapter.resumed.get()
        await core.settle()
        assert core.adapter.attempts.empty()
        attempt.reply()
        assert (await core.adapter.next()).request.call_id == second


async def test_those_that_are_withdrawn_together_are_never_sent(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        _, second = await two(core)
        third, _ = await two(core)
        attempt = await core.adapter.next()
        gone = await core.hub.calls.withdraw([second, third, attempt.request.call_id])  # type: ignore[list-item]
        assert [(state.call.id, state.outcome.ending) for state in gone if state.outcome] == [
            (second, Ending.CANCELLED), (third, Ending.CANCELLED),
        ]  # fmt: skip
        attempt.reply()
        assert (await core.adapter.next()).request.call_id not in (second, third)
